"""Coverage-guided fuzzing of all that reads bytes of others: `make fuzz`.

Each module of `fuzz.targets` is one target: a function `fuzz_one(data)` that feeds the bytes to a parser of the program
and compares what it makes of them with a slow, obvious reading of the same bytes. An AssertionError, or any exception
that the parser does not declare, is a finding. The target `lane` feeds them to two whole listeners, and compares those.

`fuzz/corpus` has the inputs that reach each branch, as the fuzzer has merged them down; `fuzz/kept` those that stay
whatever they reach: written by hand, or once findings. `make test` plays all of them through their targets; that
needs no fuzzer.
"""
