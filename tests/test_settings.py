"""Settings that are refused say which value is wrong; values can be changed as values."""

from __future__ import annotations

import pickle
from typing import Any

import attrs
import pytest

from clicksgroup import ClicksClient, ConfigurationError, Quota

QUOTA = Quota((24, 60), (1250, 3600), in_flight=2)


@pytest.mark.parametrize("language", ["fr", "EN", "ko-KR", "", "en\r\n", None])
def test_language(language: Any) -> None:
    """Other languages than the vendor's two are refused, and the message names those."""
    with pytest.raises((ConfigurationError, TypeError), match=r"language: .*'en', 'ko'"):
        ClicksClient("key", language=language)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_languages(language: str) -> None:
    """English and Korean are the vendor's."""
    assert ClicksClient("key", language=language)


@pytest.mark.parametrize("port", ["99999", "-1", "x", "65536"])
def test_port(port: str) -> None:
    """A port that cannot be is refused with the value."""
    with pytest.raises(ConfigurationError, match=rf"base_url: 'https://vivoldi\.com:{port}': "):
        ClicksClient("key", base_url=f"https://vivoldi.com:{port}")


def test_evolve() -> None:
    """`attrs.evolve` of a quota changes what it is told to, and checks it."""
    assert attrs.evolve(QUOTA, in_flight=3) == Quota((24, 60), (1250, 3600), in_flight=3)
    assert attrs.evolve(QUOTA) == QUOTA
    assert hash(attrs.evolve(QUOTA)) == hash(QUOTA)
    with pytest.raises(ConfigurationError):
        attrs.evolve(QUOTA, in_flight=0)


def test_quota_is_a_value() -> None:
    """It pickles, compares, hashes and shows how to write it."""
    back = pickle.loads(pickle.dumps(QUOTA))
    assert (back, hash(back), repr(back)) == (QUOTA, hash(QUOTA), repr(QUOTA))
    assert eval(repr(QUOTA)) == QUOTA
