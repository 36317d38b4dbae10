"""How a client reaches the API: key, headers and URL, out of arguments, environment and defaults."""

from __future__ import annotations

import functools
import ipaddress
import json
import os
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import quote, urlsplit

from clicksgroup.errors import ConfigurationError

DEFAULT_BASE_URL = "https://vivoldi.com"

_SHORTEST_SECRET = 5
"""Characters. A shorter key is no secret, and redacting it would garble every text it happens to be part of."""


class Secret(str):
    """A string that is sent as it is and redacted in every `repr`, tracebacks included."""

    __slots__ = ()

    def redact(self, text: str) -> str:
        """The text without this string, as it is or as JSON or a URL would write it: a server may echo it."""
        if len(self) < _SHORTEST_SECRET:
            return text
        plain = str(self)
        for written in (plain, json.dumps(plain)[1:-1], plain.replace("/", "\\/"), quote(plain), quote(plain, "")):
            text = text.replace(written, "***")
        return text

    def __repr__(self) -> str:
        return "'***'"


def parse_api_key(api_key: str | None) -> Secret:
    """The key, or that of `CLICKSGROUP_API_KEY`, redacted from here on in tracebacks too.

    Raises:
        ConfigurationError: there is none.
    """
    if api_key is None:
        api_key = os.environ.get("CLICKSGROUP_API_KEY") or None
    if api_key is None:
        raise ConfigurationError("api_key: there is no API key; pass api_key= or set CLICKSGROUP_API_KEY")
    if not isinstance(api_key, str):
        kind = type(api_key).__name__
        # Tracebacks may show locals.
        del api_key
        raise TypeError(f"api_key: expected a str, got {kind}")
    return Secret(api_key)


def request_headers(api_key: Secret, user_agent: str | None, language: str) -> dict[str, str]:
    """The headers of every request. They win over those of a session.

    The vendor wants `Authorization: APIKey <key>`, a `User-Agent` that identifies the caller by company or brand name,
    and takes `Accept-Language` for the language of its messages
    (https://en.vivoldi.com/url/api/overview/getting-started, a copy of which was read on 2026-11-29).
    """
    if user_agent is None:
        user_agent = os.environ.get("CLICKSGROUP_USER_AGENT") or f"clicksgroup/{package_version()}"
    return {
        "Authorization": Secret(f"APIKey {_header_value('api_key', api_key)}"),
        "User-Agent": _header_value("user_agent", user_agent),
        "Accept": "application/json",
        # aiohttp's decompressor of gzip is known to be bounded.
        "Accept-Encoding": "gzip",
        "Accept-Language": _header_value("language", language),
    }


def parse_base_url(value: str | None, *, allow_http: bool) -> str:
    """The URL to which a request's path is appended: the argument, `CLICKSGROUP_BASE_URL`, or the vendor's.

    Raises:
        ConfigurationError: it is not a URL that the key may be sent to.
    """
    value = value if value is not None else os.environ.get("CLICKSGROUP_BASE_URL") or DEFAULT_BASE_URL
    if not isinstance(value, str):
        raise TypeError(f"base_url: expected a str, got {type(value).__name__}")
    try:
        url = urlsplit(value)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise ConfigurationError(f"base_url: {value!r}: {error}") from None
    if url.username is not None or url.password is not None:
        raise ConfigurationError("base_url: it holds a user or password; leave them out: the key goes into a header")
    if not host or url.scheme not in ("https", "http"):
        problem = f"expected a URL such as {DEFAULT_BASE_URL}"
    elif "?" in value or "#" in value:
        problem = "expected neither a query nor a fragment"
    elif not (value.isascii() and value.isprintable()) or " " in value:
        problem = "expected printable ASCII without spaces (a host name in Punycode)"
    elif url.scheme == "http" and not allow_http and not _is_loopback(host):
        problem = "plain http would send the key unprotected; use https, or allow_http=True"
    else:
        return value.rstrip("/")
    raise ConfigurationError(f"base_url: {value!r}: {problem}")


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, such as `https://vivoldi.com:443`.

    Quotas and stores are kept for each origin: requests to another server neither count there nor tell its clicks.
    """
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}[parts.scheme]
    return f"{parts.scheme}://{parts.hostname}:{port}"


@functools.cache
def package_version() -> str:
    """The version of this package, or `unknown` where it was deployed as a bare folder, without its metadata."""
    try:
        return version("clicksgroup")
    except PackageNotFoundError:
        return "unknown"


def _header_value(name: str, value: str) -> str:
    """A value that can stand in a header as it is. Errors do not show it: it may be the key."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a str, got {type(value).__name__}")
    if not value:
        raise ConfigurationError(f"{name}: it is empty")
    if value != value.strip():
        raise ConfigurationError(f"{name}: it begins or ends with white space")
    if not (value.isascii() and value.isprintable()):
        raise ConfigurationError(f"{name}: it holds a character that no HTTP header may hold (only printable ASCII)")
    return value


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
