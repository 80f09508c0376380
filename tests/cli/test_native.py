"""What native code prints stays off standard output."""

import subprocess
import sys

PROGRAM = """
import ctypes
from archspec.cli.native import native_code_silenced

libc = ctypes.CDLL(None)
libc.puts(b"before")
libc.fflush(None)

@native_code_silenced()
def command():
    libc.puts(b"noise")
    print("ours ²")
    libc.puts(b"noise")

command()
print("python after")
libc.puts(b"native after")
"""


def test_only_what_we_print_is_printed() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    assert done.stdout.decode().split("\n")[:2] == ["before", "ours ²"]
    assert sorted(done.stdout.decode().split("\n")[2:]) == ["", "native after", "python after"]
    assert not done.stderr


def test_where_standard_output_is_captured_nothing_is_done(capsys) -> None:
    from archspec.cli.native import native_code_silenced

    before = sys.stdout
    with native_code_silenced():
        assert sys.stdout is before
        print("ours")  # noqa: T201 - what is tested
    assert capsys.readouterr().out == "ours\n"
