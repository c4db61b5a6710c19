"""A real S3 server as a process of its own, with its buckets, keys and what they may do."""

import itertools
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

REGION = "us-east-1"
_numbers = itertools.count()
_OPEN = 10**9
"""Requests that are answered whoever asks; the server then looks at keys."""


@dataclass(frozen=True)
class Key:
    """What an environment names its credentials by."""

    id: str
    secret: str


ANYONE = Key("an-id-of-nobody", "a-secret-of-nobody")


@dataclass
class Server:
    """moto's server, speaking S3 over HTTP on a free port of this machine."""

    process: subprocess.Popen[str]
    url: str

    @classmethod
    def start(cls, log: Path) -> "Server":
        """Start it, and return when it listens."""
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
                env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(_OPEN)},
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
            )
        while process.poll() is None:
            if found := re.search(r"Running on (http://\S+)", log.read_text()):
                return cls(process, found[1])
        raise RuntimeError(log.read_text())

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def environment(self, key: Key = ANYONE) -> dict[str, str]:
        """Return what a process needs to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": key.id,
            "AWS_SECRET_ACCESS_KEY": key.secret,
            "AWS_REGION": REGION,
            "NO_PROXY": "127.0.0.1",
        }

    def client(self, service: str, key: Key = ANYONE) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=key.id,
            aws_secret_access_key=key.secret,
        )

    def make_bucket(self, name: str) -> None:
        self.client("s3").create_bucket(Bucket=name)

    def upload(self, folder: Path, bucket: str, prefix: str) -> str:
        """Put a folder's files under a prefix; return where they lie."""
        s3 = self.client("s3")
        for file in sorted(folder.iterdir()):
            s3.upload_file(str(file), bucket, f"{prefix}/{file.name}")
        return f"s3://{bucket}/{prefix}"

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Return key to content."""
        s3 = self.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def make_key(self, user: str, actions: Mapping[str, list[str]]) -> Key:
        """Return the key of a new user that may take these actions (`s3:GetObject`) there."""
        iam, user = self.client("iam"), f"{user}-{next(_numbers)}"
        iam.create_user(UserName=user)
        statements = [
            {"Effect": "Allow", "Action": names, "Resource": where}
            for where, names in actions.items()
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=user, PolicyName=user, PolicyDocument=policy)
        made = iam.create_access_key(UserName=user)["AccessKey"]
        return Key(made["AccessKeyId"], made["SecretAccessKey"])

    @contextmanager
    def strict(self) -> Iterator[None]:
        """Refuse for so long whoever has no right; else everybody is answered."""
        self._answer_blindly(0)
        try:
            yield
        finally:
            self._answer_blindly(_OPEN)

    def _answer_blindly(self, requests: int) -> None:
        request = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth",
            data=str(requests).encode(),
            headers={"Content-Type": "text/plain"},
            method="POST",
        )
        urllib.request.urlopen(request).close()
