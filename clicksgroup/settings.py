"""What a client is set to: arguments, environment and defaults, refused where they cannot be right."""

from __future__ import annotations

import functools
import ipaddress
import os
from importlib.metadata import version
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from clicksgroup.errors import ConfigurationError
from clicksgroup.secret import Secret

T = TypeVar("T")

DEFAULT_BASE_URL = "https://vivoldi.com"


def secret(api_key: str | None) -> Secret:
    """The key, hidden from here on in whatever shows it, the locals of a traceback included."""
    if api_key is None:
        api_key = os.environ.get("CLICKSGROUP_API_KEY") or None
    if api_key is None:
        raise ConfigurationError("api_key: no API key; pass api_key or set CLICKSGROUP_API_KEY")
    if not isinstance(api_key, str):
        raise TypeError(f"api_key: expected a str, got {type(api_key).__name__}")
    return Secret(api_key)


def headers(api_key: Secret, user_agent: str | None, language: str) -> dict[str, str]:
    """The headers of every request, whatever a session would send."""
    default_agent = os.environ.get("CLICKSGROUP_USER_AGENT") or f"clicksgroup/{_version()}"
    return {
        "Authorization": Secret(f"APIKey {_header_value('api_key', api_key)}"),
        "User-Agent": _header_value("user_agent", user_agent if user_agent is not None else default_agent),
        "Accept": "application/json",
        "Accept-Encoding": "gzip",  # the decompressor of which is known to be bounded
        "Accept-Language": _header_value("language", language),
    }


def base_url(value: str | None, *, allow_http: bool) -> str:
    """The URL to which a request's path is appended."""
    value = value if value is not None else os.environ.get("CLICKSGROUP_BASE_URL") or DEFAULT_BASE_URL
    if not isinstance(value, str):
        raise TypeError(f"base_url: expected a str, got {type(value).__name__}")
    try:
        url = urlsplit(value)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise ConfigurationError(f"base_url: {error}") from None
    if url.username is not None or url.password is not None:
        raise ConfigurationError("base_url: no user or password in it, please: the key goes into a header")
    if problem := _url_problem(value, url, allow_http=allow_http):
        raise ConfigurationError(f"base_url: {value!r}: {problem}")
    assert host is not None
    return value.rstrip("/")


def origin(url: str) -> str:
    """Whose quota it is, together with the key."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}[parts.scheme]
    return f"{parts.scheme}://{parts.hostname}:{port}"


def positive(name: str, value: float) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"{name}: expected seconds as a number, got {type(value).__name__}")
    if not value > 0:
        raise ConfigurationError(f"{name}: {value!r}: expected a positive number of seconds")
    return value


def whole(name: str, value: int) -> int:
    """A number of a page."""
    if type(value) is not int:
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    if value < 1:
        raise ConfigurationError(f"{name}: {value}: pages are numbered from 1")
    return value


def choice(name: str, value: Any, *choices: str) -> Any:
    if value not in choices:
        raise ConfigurationError(f"{name}: {value!r} is none of {', '.join(map(repr, choices))}")
    return value


def instance(name: str, value: T, *types: type[Any]) -> T:
    if not isinstance(value, types):
        wanted = " or ".join(type_.__name__ for type_ in types)
        raise TypeError(f"{name}: expected {wanted}, got {type(value).__name__}")
    return value


@functools.cache
def _version() -> str:
    return version("clicksgroup")


def _header_value(name: str, value: str) -> str:
    """A value that can stand in a header as it is. Its own text is in no error: it may be the key."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a str, got {type(value).__name__}")
    if not value:
        raise ConfigurationError(f"{name}: it is empty")
    if value != value.strip():
        raise ConfigurationError(f"{name}: it begins or ends with white space")
    if not (value.isascii() and value.isprintable()):
        raise ConfigurationError(f"{name}: it holds a character that no HTTP header may hold (only printable ASCII)")
    return value


def _url_problem(value: str, url: SplitResult, *, allow_http: bool) -> str | None:
    if not url.hostname or url.scheme not in ("https", "http"):
        return f"expected a URL such as {DEFAULT_BASE_URL}"
    if "?" in value or "#" in value:
        return "expected neither a query nor a fragment"
    if not (value.isascii() and value.isprintable()) or " " in value:
        return "expected printable ASCII without spaces (a host name in Punycode)"
    if url.scheme == "http" and not allow_http and not _is_loopback(url.hostname):
        return "plain http would send the key unprotected; use https, or allow_http=True"
    return None


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
