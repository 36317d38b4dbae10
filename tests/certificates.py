"""Certificates of authorities that no system trusts."""

from __future__ import annotations

import ssl

import trustme


def serving(authority: trustme.CA, name: str) -> ssl.SSLContext:
    """A server's context, with a certificate for `name`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context
