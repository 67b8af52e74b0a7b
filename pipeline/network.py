"""Why a request cannot be sent: the text of a key, a proxy, or a certificate.

The variables of proxies and certificates (ALL_PROXY, SSL_CERT_FILE, ...) are those of curl and many other programs.
"""

from __future__ import annotations

import os
import ssl
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pipeline.errors import ConfigError

PROXY_VARIABLES = ("all_proxy", "https_proxy", "http_proxy")
CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # the client reads the first one that is set
LONGEST_WAIT = 120.0  # seconds that a server may ask for with Retry-After
SHORTEST_SECRET = 4  # characters; servers of one's own accept keys such as "x"
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")


def unsendable(text: str) -> str | None:
    """Why `text` cannot be a key in the header of a request, without showing it. None if it can."""
    for position, character in enumerate(text, 1):
        if not "!" <= character <= "~":
            name = unicodedata.name(character, "a control character or an invalid byte")
            return f"its character {position} is U+{ord(character):04X} ({name.lower()}), which no key contains"
    return None


def without_key(text: str, key: str) -> str:
    """A text without the key, which some servers repeat. A very short key occurs in other words and is no secret."""
    return text.replace(key, "***") if len(key) >= SHORTEST_SECRET else text


def seconds_to_wait(headers: Mapping[str, str], longest: float = LONGEST_WAIT) -> float:
    """What a server asks for with Retry-After, at most `longest`. 0 if it asks for nothing, or with a date."""
    value = headers.get("retry-after", "").strip()
    return min(float(value), longest) if value.replace(".", "", 1).isdecimal() else 0.0


def setup_problem(error: Exception, url: str) -> ConfigError:
    """Why a client could not be created, which reads the variables of proxies and certificates."""
    if isinstance(error, OSError):  # ssl.SSLError is one
        return ConfigError(_unusable_certificates(error))
    proxies = {name: value for name, value in os.environ.items() if name.lower() in PROXY_VARIABLES and value}
    for name, value in proxies.items():
        if problem := _proxy_problem(value):
            return ConfigError(f"The proxy in {name} cannot be used: {problem}.")
    if proxies or getproxies():
        names = " or ".join(sorted(proxies)) or "the system's settings"
        return ConfigError(f"The proxy in {names} cannot be used: its URL is invalid. Correct it, or remove it.")
    return ConfigError(f"The URL {url} cannot be used ({error}): correct it.")


def _proxy_problem(value: str) -> str | None:
    """The value is not shown: it may contain a password."""
    advice = "name an HTTP proxy (http://host:port), or unset the variable"
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        _ = parts.port
    except ValueError:
        return f"its URL is invalid; {advice}"
    if parts.scheme not in PROXY_SCHEMES:
        return f"{parts.scheme}:// is not supported; write socks5:// if it is a SOCKS proxy, {advice}"
    if not parts.hostname:
        return f"its URL has no host; {advice}"
    if parts.scheme.startswith("socks"):
        return f"SOCKS needs the package socksio; install it (pip install socksio), {advice}"
    return None


def _unusable_certificates(error: OSError) -> str:
    """Clients load the trusted certificates when they are created."""
    file = os.environ.get("SSL_CERT_FILE")
    if not file:
        return f"The trusted certificates cannot be loaded ({error.strerror or error}): check SSL_CERT_DIR."
    if not Path(file).exists():
        problem = "which does not exist"
    elif isinstance(error, ssl.SSLError):
        problem = "which contains no certificate in PEM format"
    else:
        problem = f"which cannot be read ({error.strerror or error})"
    return f"SSL_CERT_FILE names {file}, {problem}: correct the variable, or unset it."


def is_untrusted(error: BaseException) -> bool:
    """Whether a request failed because the server's certificate is not trusted. Repeating it does not help."""
    return _verification_error(error) is not None


def unreachable(error: BaseException, url: str) -> str:
    """Why a server could not be reached, and what to do."""
    untrusted = _verification_error(error)
    if untrusted:
        used = next((name for name in CERTIFICATE_VARIABLES if name in os.environ), None)
        chosen = f"; {used} names {os.environ[used]}" if used else ""
        return (
            f"The certificate of {_host(url)} is not trusted ({untrusted.verify_message}{chosen}): if it is the "
            "certificate of your organization, set the environment variable SSL_CERT_FILE to a PEM file that contains "
            "it."
        )
    through = proxy_for(url)
    where = f" through the proxy in {through}" if through else ""
    return f"Cannot reach {url}{where}: check the network and OPENAI_BASE_URL, then run the same command again."


def _verification_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The error of the certificate that other errors were raised from."""
    seen: set[int] = set()
    while error and id(error) not in seen:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def _host(url: str) -> str:
    return urlsplit(url).netloc or url


def proxy_for(url: str) -> str | None:
    """Where the proxy is set through which a URL is requested: a variable, or the system's settings. None without one.

    Of a variable in capitals and in small letters, the latter counts, as in the standard library.
    """
    parts, proxies = urlsplit(url), getproxies()
    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    wanted = next((scheme for scheme in (parts.scheme, "all") if scheme in proxies), None)
    if wanted is None:
        return None
    names = (name for name, value in sorted(os.environ.items(), reverse=True) if value)
    return next((name for name in names if name.lower() == f"{wanted}_proxy"), "the system's settings")
