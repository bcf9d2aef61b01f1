"""One target under the fuzzer: `python -m fuzz.run TARGET COMMAND [options and directories of libFuzzer]`.

COMMAND is a program that does the same with the options that follow it: libFuzzer starts itself again to merge.
"""

import sys

import atheris


def main() -> None:
    """Run until told to stop by libFuzzer's options; what its exit code says is libFuzzer's own."""
    name, *arguments = sys.argv[1:]
    # The slow readings too: an input that leads those elsewhere is worth keeping.
    with atheris.instrument_imports(
        include=["config", "proxy", "store", "fuzz"], enable_loader_override=False
    ):
        from fuzz.targets import load  # noqa: PLC0415 - only what is imported in here is instrumented

        target = load(name)
    atheris.Setup(arguments, target.fuzz_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
