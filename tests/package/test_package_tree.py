"""Making, reading and copying packages."""

import hashlib
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from enarx_deploy import package_tree
from enarx_deploy.errors import PackageError
from enarx_deploy.models import Module, Package
from enarx_deploy.project import load_project
from enarx_drawbridge.directory_form import DIRECTORY_TYPE, directory_json, entry_of, media_type

WASM = b"\0asm\x01\0\0\0"
MANIFEST = b'[[files]]\nkind = "stdin"\n'
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
PRIVATE_KEY = b"-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n"  # gitleaks:allow - no key


class Example:
    """A project directory with a compiled module, packaged on call."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("Enarx.toml", MANIFEST)
        self.write(".enarx/module.wasm", WASM)

    def write(self, name: str, data: bytes = b"x") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def manifest(self, text: str) -> None:
        self.write("Enarx.toml", text.encode())

    def asset(self, source: str, guest: str) -> None:
        path = self.root / "Enarx.toml"
        path.write_text(f'{path.read_text()}\n[[package.assets]]\nsource = "{source}"\nguest = "{guest}"\n')

    def build(self) -> Package:
        path = self.root / ".enarx/module.wasm"
        module = Module(
            path=str(path),
            sha256=f"sha256:{hashlib.sha256(WASM).hexdigest()}",
            size=len(WASM),
            entry="_start",
            imports=[],
            toolchain="prebuilt",
            version="",
        )
        return package_tree.build(load_project(self.root), module)


@pytest.fixture
def example(tmp_path: Path) -> Example:
    return Example(tmp_path / "example")


def paths(package: Package) -> list[str]:
    return [file.path for file in package.files]


def test_a_package_is_laid_out_under_its_digest(example: Example) -> None:
    package = example.build()
    root = Path(package.root)
    assert root == (example.root / ".enarx/packages" / package.digest.removeprefix("sha256:")).resolve()
    assert (root / "main.wasm").read_bytes() == WASM
    assert (root / "Enarx.toml").read_bytes() == MANIFEST
    assert paths(package) == ["Enarx.toml", "main.wasm"]
    assert package.size == len(WASM) + len(MANIFEST)


def test_the_digest_is_that_of_the_root_directory(example: Example) -> None:
    example.write("weights/model.bin", b"weights")
    example.asset("weights", "/data")
    manifest = (example.root / "Enarx.toml").read_bytes()
    model = entry_of(b"weights", media_type("model.bin"))
    data = entry_of(directory_json({"model.bin": model}), DIRECTORY_TYPE)
    root = {
        "Enarx.toml": entry_of(manifest, "application/toml"),
        "assets": entry_of(directory_json({"data": data}), DIRECTORY_TYPE),
        "main.wasm": entry_of(WASM, "application/wasm"),
    }
    assert example.build().digest == entry_of(directory_json(root), DIRECTORY_TYPE).sha256


def test_assets_lie_under_their_guest_paths(example: Example) -> None:
    example.write("model.bin", b"weights")
    example.write("site/css/main.css", b"body {}")
    example.write("site/index.html", b"<p>")
    (example.root / "site/empty").mkdir()
    example.asset("model.bin", "/data/model")
    example.asset("site", "/")
    package = example.build()
    assert paths(package) == [
        "Enarx.toml",
        "assets/css/main.css",
        "assets/data/model",
        "assets/index.html",
        "main.wasm",
    ]
    assert not (Path(package.root) / "assets/empty").exists()
    assert (Path(package.root) / "assets/css/main.css").read_bytes() == b"body {}"


def test_a_directory_without_files_is_no_part_of_a_package(example: Example) -> None:
    example.write("site/index.html")
    example.asset("site", "/site")
    package = example.build()
    (example.root / "site/sub/empty").mkdir(parents=True)
    assert example.build() == package
    (Path(package.root) / "assets/empty").mkdir()
    assert package_tree.read(Path(package.root)) == package


def test_root_certificates_are_packaged_once(example: Example) -> None:
    example.write("certificates/company.pem", CERTIFICATE)
    example.manifest(
        "".join(
            f'[[files]]\nkind = "connect"\nprot = "tls"\nhost = "{name}.example"\nname = "{name}"\n'
            f'[tls.{name}]\nroots = ["certificates/company.pem", "system", "steward"]\n'
            for name in ("a", "b")
        )
    )
    assert paths(example.build()) == ["Enarx.toml", "main.wasm", "roots/company.pem"]


def test_times_modes_and_the_order_of_making_do_not_matter(tmp_path: Path) -> None:
    digests = set()
    for number, names in enumerate((["a", "b", "sub/c"], ["sub/c", "b", "a"])):
        example = Example(tmp_path / str(number))
        for name in names:
            path = example.write(f"site/{name}", name.encode())
            os.utime(path, (number * 1000, number * 1000))
            path.chmod(0o600 if number else 0o755)
        example.asset("site", "/site")
        digests.add(example.build().digest)
    assert len(digests) == 1


def test_building_twice_gives_the_same_package(example: Example) -> None:
    assert example.build() == example.build()
    assert [path.name for path in (example.root / ".enarx/packages").iterdir()] == [
        example.build().digest.removeprefix("sha256:")
    ]


def test_a_damaged_package_is_made_again(example: Example) -> None:
    package = example.build()
    (Path(package.root) / "main.wasm").write_bytes(b"damaged")
    assert example.build() == package
    assert package_tree.read(Path(package.root)) == package


def test_a_module_that_changed_since_it_was_compiled_is_refused(example: Example) -> None:
    example.write(".enarx/module.wasm", b"\0asm\x01\0\0\0\0\0")
    with pytest.raises(PackageError, match="is not the module that was compiled"):
        example.build()


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("no devices can be made here")


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (link, "site/sub/odd is a symbolic link"),
        (pipe, "site/sub/odd is neither a file nor a directory"),
        (unix_socket, "site/sub/odd is neither a file nor a directory"),
        pytest.param(
            device,
            "site/sub/odd is neither a file nor a directory",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes devices"),
        ),
    ],
)
def test_what_is_no_plain_file_is_refused_by_its_path(
    example: Example, make: Callable[[Path], None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    example.write("site/sub/good")
    monkeypatch.chdir(example.root)  # a Unix socket's path is short
    make(Path("site/sub/odd"))
    example.asset("site", "/site")
    with pytest.raises(PackageError, match=message):
        example.build()


def test_a_link_on_the_way_to_an_asset_is_refused(example: Example, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret").write_text("secret")
    (example.root / "way").symlink_to(tmp_path / "elsewhere")
    example.asset("way/secret", "/data")
    with pytest.raises(PackageError, match="way is a symbolic link"):
        example.build()


@pytest.mark.parametrize("name", ["with space", "with\nnewline", "ümlaut", "a*b", "\x1b[31mred"])
def test_an_unsafe_name_is_refused_and_printed_safely(example: Example, name: str) -> None:
    example.write(f"site/{name}")
    example.asset("site", "/site")
    with pytest.raises(PackageError, match="is not a name for a package") as caught:
        example.build()
    assert str(caught.value).isprintable()


def test_an_unsafe_guest_path_is_refused(example: Example) -> None:
    example.write("model")
    example.asset("model", "/with space/model")
    with pytest.raises(PackageError, match="'with space' is not a name for a package"):
        example.build()


@pytest.mark.parametrize(
    ("assets", "message"),
    [
        ((("folder", "/"), ("two", "/one")), "two would lie where assets/one of the package lies already"),
        ((("one", "/data"), ("two", "/data/below")), "two would lie below data, which is a file"),
        ((("one", "/data/below"), ("two", "/data")), "two would lie where assets/data of the package lies already"),
        ((("one", "/"),), "one is a file, and the guest path / is a folder"),
        ((("missing", "/data"),), "cannot open missing: No such file or directory"),
    ],
)
def test_assets_that_cannot_lie_where_they_should_are_refused(
    example: Example, assets: tuple[tuple[str, str], ...], message: str
) -> None:
    for name in ("one", "two", "folder/one"):
        example.write(name)
    for source, guest in assets:
        example.asset(source, guest)
    with pytest.raises(PackageError, match=message):
        example.build()


@pytest.mark.parametrize(
    ("content", "message"),
    [(CERTIFICATE + PRIVATE_KEY, "holds a private key"), (b"not PEM", "holds no certificate")],
)
def test_a_roots_file_that_is_not_certificates_is_refused(example: Example, content: bytes, message: str) -> None:
    example.write("ca.pem", content)
    example.manifest(
        '[[files]]\nkind = "connect"\nprot = "tls"\nhost = "a.example"\nname = "a"\n[tls.a]\nroots = ["ca.pem"]\n'
    )
    with pytest.raises(PackageError, match=message):
        example.build()


LIMITS = pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("TOTAL_LIMIT", 100, "the package is over 100 bytes"),
        ("NAMES_LIMIT", 5, "the package is over 5 files and folders"),
        ("DEPTH_LIMIT", 1, "lies deeper than 1 directories"),
        ("DIRECTORY_LIMIT", 900, "holds too many names: its listing is over 900 bytes"),
    ],
)


def with_a_site(example: Example) -> Example:
    example.manifest('[[package.assets]]\nsource = "site"\nguest = "/"\n')
    for name in ("a", "b", "sub/c"):
        example.write(f"site/{name}", b"twenty bytes or more")
    return example


@LIMITS
def test_limits_hold_on_making(
    example: Example, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, message: str
) -> None:
    monkeypatch.setattr(package_tree, limit, value)
    with pytest.raises(PackageError, match=message):
        with_a_site(example).build()
    assert not list((example.root / ".enarx/packages").iterdir())


@LIMITS
def test_limits_hold_on_reading(
    example: Example, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, message: str
) -> None:
    package = with_a_site(example).build()
    monkeypatch.setattr(package_tree, limit, value)
    with pytest.raises(PackageError, match=message):
        package_tree.read(Path(package.root))


def test_directories_that_never_end_are_refused_even_if_empty(example: Example) -> None:
    example.write("/".join(["site", *["d"] * 40, "x"])).unlink()
    example.asset("site", "/site")
    with pytest.raises(PackageError, match="lies deeper than 32 directories"):
        example.build()


@pytest.mark.parametrize(
    ("name", "size"), [("main.wasm", 100_000_001), ("Enarx.toml", 1_000_001), ("assets/sparse", 4_000_000_001)]
)
def test_a_file_larger_than_enarx_takes_is_refused(tmp_path: Path, name: str, size: int) -> None:
    (tmp_path / "main.wasm").write_bytes(WASM)
    (tmp_path / "Enarx.toml").write_bytes(MANIFEST)
    (tmp_path / "assets").mkdir()
    with (tmp_path / name).open("ab") as file:
        file.truncate(size)
    with pytest.raises(PackageError, match=f"{name} is larger than {size - 1:,} bytes"):
        package_tree.read(tmp_path)


def test_a_path_longer_than_the_system_has_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    deep = "/".join(["assets", *["a" * 250] * 20])
    with pytest.raises(PackageError, match="File name too long") as caught:
        package_tree.lay_out([("main.wasm", [WASM]), (deep, [b""])], tmp_path / "into")
    assert caught.value.hint == "put it into a folder with a shorter path"
    assert list((tmp_path / "into").iterdir()) == []


def test_a_package_is_read_as_it_was_made(example: Example) -> None:
    package = with_a_site(example).build()
    assert package_tree.read(Path(package.root)) == package
    assert package_tree.read(Path(package.root), package.digest) == package


def test_a_package_in_a_directory_of_any_name_is_read(example: Example, tmp_path: Path) -> None:
    package = example.build()
    Path(package.root).rename(tmp_path / "mine")
    assert package_tree.read(tmp_path / "mine").digest == package.digest


def flip(root: Path) -> None:
    data = bytearray((root / "assets/sub/c").read_bytes())
    data[0] ^= 1
    (root / "assets/sub/c").write_bytes(data)


def rename(root: Path) -> None:
    (root / "assets/a").rename(root / "assets/z")


def add(root: Path) -> None:
    (root / "assets/more").touch()


def remove(root: Path) -> None:
    (root / "Enarx.toml").unlink()


@pytest.mark.parametrize("damage", [flip, rename, add, remove])
def test_a_tree_that_is_not_what_its_name_says_is_refused(example: Example, damage: Callable[[Path], None]) -> None:
    package = with_a_site(example).build()
    damage(Path(package.root))
    with pytest.raises(PackageError, match=f"is damaged, or another package: .* not {package.digest}"):
        package_tree.read(Path(package.root))


def test_another_package_than_was_asked_for_is_refused(example: Example, tmp_path: Path) -> None:
    package = example.build()
    with pytest.raises(PackageError, match="is damaged, or another package"):
        package_tree.read(Path(package.root), f"sha256:{'0' * 64}")
    with pytest.raises(PackageError, match="is damaged, or another package"):
        package_tree.copy(Path(package.root), tmp_path / "into", f"sha256:{'0' * 64}")
    assert not list((tmp_path / "into").iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("main.c", "main.c is not part of a package"),
        ("assets", "assets is not part of a package"),
        (".hidden", ".hidden is not part of a package"),
    ],
)
def test_a_directory_that_holds_other_things_is_no_package(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "main.wasm").write_bytes(WASM)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(PackageError, match=message):
        package_tree.read(tmp_path)


def test_a_link_in_a_package_is_refused(example: Example) -> None:
    package = with_a_site(example).build()
    (Path(package.root) / "assets/sub/c").unlink()
    (Path(package.root) / "assets/sub/c").symlink_to(example.root / "site/sub/c")
    with pytest.raises(PackageError, match="assets/sub/c is a symbolic link"):
        package_tree.read(Path(package.root))


def test_a_directory_without_a_module_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"is not a package: it holds no main\.wasm"):
        package_tree.read(tmp_path)


def test_a_project_in_the_place_of_a_package_is_told_how_to_make_one(example: Example) -> None:
    with pytest.raises(PackageError) as caught:
        package_tree.read(example.root)
    assert caught.value.hint == f"it is a project: `enarx-deploy -C {example.root} package` makes its package"


def test_a_copy_is_the_same_package(example: Example, tmp_path: Path) -> None:
    package = with_a_site(example).build()
    copied = package_tree.copy(Path(package.root), tmp_path / "into", package.digest)
    assert (copied.digest, copied.files, copied.size) == (package.digest, package.files, package.size)
    assert package_tree.read(Path(copied.root)) == copied


def test_names_that_differ_in_case_alone_are_refused(example: Example) -> None:
    example.write("data/Read.me")
    example.write("data/read.me")
    example.asset("data", "/data")
    with pytest.raises(PackageError, match=r"differs from assets/data/Read\.me in upper and lower case alone"):
        example.build()


def test_a_directory_of_more_names_than_a_package_has_is_refused_before_any_is_opened(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "main.wasm").write_bytes(WASM)
    for number in range(10_001):
        (tmp_path / "assets" / str(number)).symlink_to("/nowhere")
    with pytest.raises(PackageError, match="holds more than 10,000 files and folders"):
        package_tree.read(tmp_path)
