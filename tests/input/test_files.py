"""Each file is found once, under one path, whatever links and spellings lead to it."""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

from medsent.errors import InputError, StorageError
from medsent.input.files import canonical, find_files, look
from medsent.storage.paths import StoredFile, shown


def paths(source: Path | str) -> list[str]:
    return [file.path for file in find_files(str(source)).files]


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


def test_a_link_to_a_file_of_any_name_is_that_file(tmp_path: Path) -> None:
    """As in a cache of downloads, where only the links have names that tell."""
    blob = made(tmp_path / "blobs/0a1b")
    source = tmp_path / "in"
    source.mkdir()
    for name in ("b.parquet", "a.parquet"):
        (source / name).symlink_to("../blobs/0a1b")
    assert paths(source) == [blob]
    assert paths(source / "b.parquet") == [blob] == [canonical(str(source / "a.parquet"))]


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
    found = find_files(str(tmp_path))
    [file], filesystem = found.files, found.filesystem
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
    found = find_files(bucket.uri)
    assert found.files == (
        StoredFile("bucket/in/b.parquet", 1, '"first"'),
        StoredFile("bucket/in/x y/a.parquet", 1, '"first"'),
    )
    assert found.passed_over == ("bucket/in/_tmp/c.parquet", "bucket/in/notes.txt")
    filesystem = found.filesystem
    bucket.etags["in/b.parquet"] = '"second"'
    assert look(filesystem, "bucket/in/b.parquet") == StoredFile(
        "bucket/in/b.parquet", 1, '"second"'
    )
    del bucket.objects["in/b.parquet"]
    assert look(filesystem, "bucket/in/b.parquet") is None


def test_an_object_that_must_not_be_read_is_told_without_the_key(bucket: Bucket) -> None:
    bucket.objects["in/a.parquet"] = b"x"
    filesystem = find_files(bucket.uri).filesystem
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
    [found] = find_files("in").files
    for path in ("in/a.parquet", "link/a.parquet", "./in/../in/a.parquet"):
        assert canonical(path) == found.path
    assert canonical("in/gone.parquet") == str((tmp_path / "in" / "gone.parquet").resolve())


PARQUET = b"PAR1 and more PAR1"


@pytest.fixture(params=["files", "objects"])
def below(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Write files below a folder, and list it as one of this machine or as one of objects."""
    source = tmp_path.resolve() / "in"

    def write(*names: str, data: bytes = b"x") -> Path:
        for name in names:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(data)
        return source

    if request.param == "objects":
        objects = fs.SubTreeFileSystem(str(source.parent), fs.LocalFileSystem())
        monkeypatch.setattr(
            "medsent.input.files.located",
            lambda path: (objects, Path(path).relative_to(source.parent).as_posix()),
        )
    return write


def listed(source: Path) -> tuple[list[str], list[str]]:
    """Return what was taken and what was passed over, each by its place below the source."""
    found = find_files(str(source))
    paths = [file.path for file in found.files], list(found.passed_over)
    taken, passed_over = ([f"/{path}".partition("/in/")[2] for path in each] for each in paths)
    return taken, passed_over


def test_a_file_is_taken_for_its_suffix_or_for_how_it_begins(below: Callable[..., Path]) -> None:
    source = below("a.parquet", "b.PARQUET", "c.parq", "d.Pq", "e.parquet.crc", "notes.txt")
    below("20260101_00037_v74wa", "y/000000_0", "f.c000", data=PARQUET)
    below("LICENSE", data=b"PAR")
    taken, passed_over = listed(source)
    assert taken == [
        "20260101_00037_v74wa",
        "a.parquet",
        "b.PARQUET",
        "c.parq",
        "d.Pq",
        "y/000000_0",
    ]
    assert passed_over == ["LICENSE", "e.parquet.crc", "f.c000", "notes.txt"]


def test_a_named_file_is_taken_whatever_it_is_called(below: Callable[..., Path]) -> None:
    for name in ("a.csv", "_b", ".c.parquet", "d.PARQUET"):
        file = below(name) / name
        [found] = find_files(str(file)).files
        assert found.path == canonical(str(file))
        assert f"/{found.path}".endswith(f"/in/{name}")


def test_a_partition_is_not_hidden(below: Callable[..., Path]) -> None:
    source = below("_year=2020/.month=1/a.parquet", "x/_late/c=1/b.parquet", "_d/.e/f.parquet")
    below("_metadata", ".g.parquet", "_SUCCESS", data=PARQUET)
    taken, passed_over = listed(source)
    assert taken == ["_year=2020/.month=1/a.parquet"]
    hidden = [".g.parquet", "_SUCCESS", "_d/.e/f.parquet", "_metadata", "x/_late/c=1/b.parquet"]
    assert passed_over == hidden


def test_what_was_passed_over_is_told_where_nothing_else_is(below: Callable[..., Path]) -> None:
    source = below("a.csv", *(f"_tmp/{n}.parquet" for n in (0, 1, 2, 3, "4\r", 5)))
    assert refused(source).startswith(
        f"input.path: no shards (*.parquet, *.parq, *.pq) in {source}; passed over (7): "
        "_tmp/0.parquet, _tmp/1.parquet, _tmp/2.parquet, _tmp/3.parquet, _tmp/4\\r.parquet "
        "and 2 more. "
    )


@pytest.mark.parametrize(
    ("signs", "kind"),
    [
        (["_delta_log/00000000000000000000.json"], "Delta"),
        (["metadata/any.metadata.json", "data/a.parquet"], "Iceberg"),
        (["metadata/v2.gz.metadata.json"], "Iceberg"),
        (["metadata/00001-0a1b.metadata.json"], "Iceberg"),
        ([".hoodie/hoodie.properties"], "Hudi"),
    ],
)
@pytest.mark.parametrize("place", [".", "deep/table"])
def test_a_table_is_refused_by_its_folder(
    below: Callable[..., Path], signs: list[str], kind: str, place: str
) -> None:
    source = below("good.parquet", f"{place}/part.parquet", *(f"{place}/{sign}" for sign in signs))
    told = refused(source)
    assert f"{Path('in', place)} is a" in told
    assert f"{kind} table" in told
    assert "deleted" in told
    assert "Export its present version" in told


def test_what_only_looks_like_a_table_is_read(below: Callable[..., Path]) -> None:
    source = below("a.parquet", "metadata/opinions.metadata.json", "_old/t/_delta_log/0.json")
    assert listed(source)[0] == ["a.parquet"]


def test_a_table_with_an_empty_log_or_behind_a_link_is_refused(tmp_path: Path) -> None:
    made(tmp_path / "store/t/a.parquet")
    (tmp_path / "store/t/_delta_log").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to("../store/t")
    assert f"{tmp_path.resolve()}/in/link is a Delta table" in refused(tmp_path / "in")


@pytest.mark.parametrize(
    ("table", "part"),
    [
        (["_delta_log/0.json", "month=1/a.parquet"], "month=1"),
        (["_delta_log/0.json", "a.parquet"], "a.parquet"),
        (["metadata/v2.metadata.json", "data/month=1/a.parquet"], "data/month=1"),
        ([".hoodie/hoodie.properties", "pl/1/a.parquet"], "pl/1"),
    ],
)
def test_a_part_of_a_table_is_refused_as_the_table_is(
    below: Callable[..., Path], table: list[str], part: str
) -> None:
    source = below(*table)
    told = refused(source / part)
    assert "in is a" in told
    assert "Export its present version" in told


ODD = [
    "Czy polecam?",
    "a;b",
    "#1 [a] {b} *",
    "100%25",
    "opinie\r",
    "a\tb\nc",
    "sp  ace ",
    "a://b=c@d",
]


@pytest.mark.parametrize("name", [*ODD, os.fsdecode(b"zaj\xeate"), "zażółć"])
def test_a_path_may_hold_any_character(tmp_path: Path, name: str) -> None:
    file = made(tmp_path / name / f"{name.replace('/', '')}.parquet")
    for source in (tmp_path, tmp_path / name, file):
        found = find_files(str(source))
        assert [each.path for each in found.files] == [file] == [canonical(file)]
        assert look(found.filesystem, file) == found.files[0]
    assert paths(f"file://{quote(os.fsencode(file))}") == [file]
    Path(file).unlink()
    assert look(found.filesystem, file) is None
    assert f"no shards (*.parquet, *.parq, *.pq) in {shown(str(tmp_path / name))}" in refused(
        tmp_path / name
    )


def test_objects_may_hold_any_character(below: Callable[..., Path]) -> None:
    names = sorted(f"{name}/{name}.parquet" for name in ODD if "/" not in name)
    assert listed(below(*names))[0] == names


def test_a_path_is_shown_without_what_acts() -> None:
    for path in ("/zażółć gęślą/a b?;#%'\"\\.parquet", "s3://b/k"):
        assert shown(path) == path
    assert shown(os.fsdecode(b"a\xff\tb\r\n\x1b[2J")) == r"a\xff\tb\r\n\x1b[2J"
    assert shown("a\u202eb\u2028\ud800") == r"a\u202eb\u2028\ud800"


@given(st.binary().map(os.fsdecode))
def test_every_path_can_be_shown(path: str) -> None:
    told = shown(path)
    assert told.encode().decode() == told
    assert not any(character < " " for character in told)


def test_a_broken_link_of_an_odd_name_is_named(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.parquet")).symlink_to(os.fsdecode(b"\xfe"))
    told = refused(tmp_path)
    assert f"{tmp_path}/\\xff.parquet is a link to \\xfe, where there is nothing" in told


def test_links_below_a_hidden_folder_are_not_followed(tmp_path: Path) -> None:
    file = made(tmp_path / "in/a.parquet")
    made(tmp_path / "store/b.parquet")
    (tmp_path / "in/_x").mkdir()
    (tmp_path / "in/_x/gone").symlink_to("nowhere")
    (tmp_path / "in/_store").symlink_to("../store")
    found = find_files(str(tmp_path / "in"))
    assert [each.path for each in found.files] == [file]
    assert found.passed_over == (f"{tmp_path.resolve()}/in/_x/gone",)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("pipe", "pipe.parquet"):
        os.mkfifo(tmp_path / name)
    assert "passed over (2): pipe, pipe.parquet" in refused(tmp_path)
    assert "neither a file nor a folder" in refused(tmp_path / "pipe")
