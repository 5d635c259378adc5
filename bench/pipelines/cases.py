"""The pipelines that are measured, compiled by the SDK: cases.py FOLDER"""

import pathlib
import sys
from typing import List

from kfp import compiler, dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def step(n: int) -> int:
    return n + 1


@dsl.component(base_image="python:3.11")
def usual(n: int) -> int:
    return n + 1


@dsl.pipeline(name="one")
def one():
    step(n=1)


@dsl.pipeline(name="one-usual")
def one_usual():
    usual(n=1)


@dsl.pipeline(name="chain")
def chain():
    last = 1
    for _ in range(50):
        last = step(n=last).output


@dsl.pipeline(name="independent")
def independent():
    for at in range(50):
        step(n=at)


@dsl.pipeline(name="loop")
def loop():
    with dsl.ParallelFor(list(range(100))) as item:
        step(n=item)


@dsl.container_component
def nothing():
    return dsl.ContainerSpec(image="busybox", command=["true"])


@dsl.pipeline(name="processes")
def processes():
    with dsl.ParallelFor(list(range(200))):
        nothing()


@dsl.pipeline(name="one-process")
def one_process():
    nothing()


@dsl.pipeline(name="ten-thousand")
def ten_thousand(items: List[int]):
    with dsl.ParallelFor(items) as item:
        step(n=item)


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    for made in (one, one_usual, chain, independent, loop, processes, one_process, ten_thousand):
        compiler.Compiler().compile(made, str(folder / f"{made.name}.yaml"))
