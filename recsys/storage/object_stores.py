"""Object stores (S3, Google Cloud Storage, Azure): connected with the credentials of the environment."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

# Scheme -> variables of the environment that hold its credentials.
STORES = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS",),
    "az": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"),
}
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN")


def connect(scheme: str, bucket: str) -> Any:
    """Return the file system (pyarrow's) of a bucket's store; paths in it start with the bucket.

    Args:
        scheme: s3, gs or az.
        bucket: bucket, or container.

    Raises:
        Exception: what the library raises where the store or its settings are wrong; see `explain`.
    """
    return _CONNECT[scheme](bucket)


def advise(scheme: str) -> str:
    """Return what to do about a store that cannot be used."""
    names = STORES[scheme]
    missing = [name for name in names if not os.environ.get(name)]
    advice = "check the address, the network, and the credentials of the environment"
    return f"{advice}: {', '.join(missing)} not set" if missing else f"{advice} ({', '.join(names)})"


def explain(error: Exception) -> str:
    """Return the first line of an error, without credentials."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    for secret in map(os.environ.get, _SECRETS):
        # A word of a few letters would be found everywhere.
        if secret and len(secret) >= 8:
            text = text.replace(secret, "***")
    return re.sub(r"(https?://[^\s?']+)\?[^\s']*", r"\1", text)[:300]


def _connect_s3(bucket: str) -> Any:
    from pyarrow import fs

    address = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    endpoint = urlsplit(address)
    return fs.S3FileSystem(
        region=region or ("us-east-1" if address else fs.resolve_s3_region(bucket)),
        endpoint_override=(endpoint.netloc + endpoint.path).rstrip("/") or None,
        scheme=endpoint.scheme or "https",
        anonymous=_is_public("AWS_SKIP_SIGNATURE"),
        connect_timeout=5,
        request_timeout=6,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=2),
        # Small objects are written with a single request.
        allow_delayed_open=True,
        tls_ca_file_path=os.environ.get("AWS_CA_BUNDLE") or None,
    )


def _connect_gs(bucket: str) -> Any:
    from pyarrow import fs

    emulator = urlsplit(os.environ.get("STORAGE_EMULATOR_HOST", ""))
    return fs.GcsFileSystem(
        anonymous=bool(emulator.netloc) or _is_public("GOOGLE_SKIP_SIGNATURE"),
        endpoint_override=emulator.netloc or None,
        scheme=emulator.scheme or "https",
        retry_time_limit=timedelta(seconds=10),
    )


def _connect_az(bucket: str) -> Any:
    from pyarrow import fs

    account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise ValueError("no storage account is set")
    endpoint = urlsplit(os.environ.get("AZURE_STORAGE_ENDPOINT", ""))
    places = {f"{api}_storage_authority": endpoint.netloc for api in ("blob", "dfs")}
    schemes = {f"{api}_storage_scheme": endpoint.scheme for api in ("blob", "dfs")}
    return fs.AzureFileSystem(
        account,
        account_key=os.environ.get("AZURE_STORAGE_ACCOUNT_KEY"),
        sas_token=os.environ.get("AZURE_STORAGE_SAS_TOKEN"),
        **(places | schemes if endpoint.netloc else {}),
    )


_CONNECT = {"s3": _connect_s3, "gs": _connect_gs, "az": _connect_az}


def _is_public(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("true", "1")
