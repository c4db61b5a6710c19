"""Each file is found once, under one path, whatever links and spellings lead to it."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest

from medsent.errors import InputError, StorageError
from medsent.listing import StoredFile, canonical, find_files, look


def paths(source: Path | str) -> list[str]:
    return [file.path for file in find_files(str(source))[1]]


def refused(source: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        find_files(str(source))
    return str(caught.value)


def made(path: Path) -> str:
    """Write a file; return its canonical path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return str(path.resolve())


def test_a_link_in_the_input_is_the_file_or_folder_it_leads_to(tmp_path: Path) -> None:
    one, two = made(tmp_path / "store/one.parquet"), made(tmp_path / "store/deep/two.parquet")
    other = made(tmp_path / "elsewhere/x.parquet")
    source = tmp_path / "in"
    source.mkdir()
    (source / "deep").symlink_to(tmp_path / "store/deep")
    (source / "chain.parquet").symlink_to(tmp_path / "in/second.parquet")
    (source / "second.parquet").symlink_to("../elsewhere/third.parquet")
    (tmp_path / "elsewhere/third.parquet").symlink_to(tmp_path / "store/one.parquet")
    (source / "x.parquet").symlink_to(tmp_path / "elsewhere/x.parquet")
    assert paths(source) == sorted([one, two, other])


def test_other_spellings_give_the_same_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = made(tmp_path / "in put/a.parquet")
    (tmp_path / "link").symlink_to("in put")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "in put"
    for spelt in (
        folder,
        f"{folder}/",
        f"{tmp_path}/./in put/../in put//",
        "in put",
        "~/in put",
        "link",
        "link/a.parquet",
        f"file://{quote(str(folder))}",
        f"file://{quote(str(tmp_path))}/link/a.parquet",
    ):
        assert paths(spelt) == [file]


def test_a_file_reached_twice_is_one_shard(tmp_path: Path) -> None:
    one, two = made(tmp_path / "a.parquet"), made(tmp_path / "sub/b.parquet")
    (tmp_path / "again.parquet").symlink_to("a.parquet")
    (tmp_path / "same").symlink_to("sub")
    (tmp_path / "sub/up").symlink_to("..")  # a walk that followed it would not end
    assert paths(tmp_path) == sorted([one, two])


def test_a_link_whose_file_ends_otherwise_stands_for_it(tmp_path: Path) -> None:
    """As in a cache of downloads; Ray reads only what ends in .parquet."""
    made(tmp_path / "blobs/0a1b")
    source = tmp_path / "in"
    source.mkdir()
    for name in ("b.parquet", "a.parquet"):
        (source / name).symlink_to("../blobs/0a1b")
    assert paths(source) == [str(source.resolve() / "a.parquet")]
    (tmp_path / "link").symlink_to("in")
    assert paths(tmp_path / "link/b.parquet") == [str(source.resolve() / "b.parquet")]


def test_hidden_is_what_is_called_so_on_the_way(tmp_path: Path) -> None:
    inside = made(tmp_path / "in/_temporary/a.parquet")
    made(tmp_path / "in/.b.parquet")
    shown = made(tmp_path / "in/c.parquet")
    assert paths(tmp_path / "in") == [shown]
    assert paths(tmp_path / "in/_temporary") == [inside]
    (tmp_path / "in/z").symlink_to("_temporary")
    assert paths(tmp_path / "in") == [inside, shown]


@pytest.mark.parametrize("name", ["a.parquet", "part"])
def test_a_link_that_leads_nowhere_is_named(tmp_path: Path, name: str) -> None:
    made(tmp_path / "good.parquet")
    link = tmp_path / name
    link.symlink_to("gone")
    for source in (tmp_path, link):
        told = f"{link} is a link to gone, where there is nothing; put that back or remove the link"
        assert refused(source) == told


def test_a_link_that_leads_in_a_circle_is_named(tmp_path: Path) -> None:
    link = tmp_path / "a.parquet"
    link.symlink_to("b.parquet")
    (tmp_path / "b.parquet").symlink_to("a.parquet")
    for source in (tmp_path, link):
        assert refused(source).startswith(f"{link} is a link that leads in a circle; ")


def test_a_path_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    assert "there is nothing at" in refused(tmp_path / "none")
    assert "cannot list ~no-such-user/x" in refused("~no-such-user/x")
    assert "cannot list" in refused("file:///a\0b")
    os.mkfifo(tmp_path / "pipe.parquet")
    assert "no shards" in refused(tmp_path)


def test_a_file_is_looked_at_again(tmp_path: Path) -> None:
    made(tmp_path / "a.parquet")
    filesystem, [file] = find_files(str(tmp_path))
    assert look(filesystem, file.path) == file
    os.utime(file.path, ns=(1, 1))
    assert look(filesystem, file.path) == StoredFile(file.path, 1, "1")
    Path(file.path).unlink()
    assert look(filesystem, file.path) is None


@dataclass
class Bucket:
    """What a server on this machine gives out as S3 does."""

    uri: str
    objects: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Bucket("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            key = unquote(urlsplit(self.path).path).removeprefix("/bucket").lstrip("/")
            if key in made.denied:
                self._say(403, b"")
            elif key in made.objects:
                tag = {"ETag": made.etags.get(key, '"first"')}
                tag["Last-Modified"] = "Wed, 25 Nov 2026 04:00:00 GMT"
                self._say(200, made.objects[key], tag)
            else:
                self._say(404, b"")

        def do_GET(self) -> None:
            prefix = parse_qs(urlsplit(self.path).query).get("prefix", [""])[0]
            listed = [
                f"<Contents><Key>{key}</Key><Size>{len(data)}</Size>"
                "<LastModified>2026-11-25T04:00:00.000Z</LastModified></Contents>"
                for key, data in made.objects.items()
                if key.startswith(prefix)
            ]
            body = (
                f"<ListBucketResult><KeyCount>{len(listed)}</KeyCount>"
                f"<IsTruncated>false</IsTruncated>{''.join(listed)}</ListBucketResult>"
            )
            self._say(200, body.encode(), {"Content-Type": "application/xml"})

        def _say(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(code)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    at = f"127.0.0.1%3A{server.server_port}"
    made.uri = f"s3://key:secret@bucket/in?scheme=http&region=us-east-1&endpoint_override={at}"
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


def test_objects_are_listed_with_their_etags(bucket: Bucket) -> None:
    for key in ("in/b.parquet", "in/x y/a.parquet", "in/_tmp/c.parquet", "in/notes.txt"):
        bucket.objects[key] = b"x"
    filesystem, found = find_files(bucket.uri)
    expected = [
        StoredFile("bucket/in/b.parquet", 1, '"first"'),
        StoredFile("bucket/in/x y/a.parquet", 1, '"first"'),
    ]
    assert found == expected
    bucket.etags["in/b.parquet"] = '"second"'
    assert look(filesystem, "bucket/in/b.parquet") == StoredFile(
        "bucket/in/b.parquet", 1, '"second"'
    )
    del bucket.objects["in/b.parquet"]
    assert look(filesystem, "bucket/in/b.parquet") is None


def test_an_object_that_must_not_be_read_is_told_without_the_key(bucket: Bucket) -> None:
    bucket.objects["in/a.parquet"] = b"x"
    filesystem, _ = find_files(bucket.uri)
    bucket.denied.add("in/a.parquet")
    for call in (lambda: find_files(bucket.uri), lambda: look(filesystem, "bucket/in/a.parquet")):
        with pytest.raises(StorageError, match=r"in/a\.parquet.*ACCESS_DENIED") as caught:
            call()
        assert "secret" not in str(caught.value)


def test_a_path_in_any_spelling_is_the_one_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.parquet").write_bytes(b"x")
    (tmp_path / "link").symlink_to("in")
    monkeypatch.chdir(tmp_path)
    _, [found] = find_files("in")
    for path in ("in/a.parquet", "link/a.parquet", "./in/../in/a.parquet"):
        assert canonical(path) == found.path
    assert canonical("in/gone.parquet") == str((tmp_path / "in" / "gone.parquet").resolve())
