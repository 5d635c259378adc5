"""Tasks that go wrong, each in its way."""
from kfp import dsl
from kfp.dsl import Artifact, Output

PIPELINES = ["no_output", "wrong_type", "huge", "killed", "hanging", "no_program", "parameters", "limited", "outside"]

py = dsl.component(base_image="python:3.11")


@dsl.container_component
def silent(out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="python:3.11", command=["true"], args=[out])


@dsl.pipeline(name="no-output")
def no_output():
    silent()


@dsl.container_component
def words(out: dsl.OutputPath(int)):
    return dsl.ContainerSpec(image="python:3.11", command=["sh", "-c", 'echo many > "$0"'], args=[out])


@dsl.pipeline(name="wrong-type")
def wrong_type():
    words()


@py
def large() -> str:
    return "x" * (3 << 20)


@dsl.pipeline(name="huge")
def huge():
    large()


@py
def suicide():
    import os
    import signal
    os.kill(os.getpid(), signal.SIGKILL)


@dsl.pipeline(name="killed")
def killed():
    suicide()


@dsl.container_component
def sleep(seconds: int):
    return dsl.ContainerSpec(image="python:3.11", command=["sh", "-c", 'echo began; exec sleep "$0"'], args=[seconds])


@dsl.pipeline(name="hanging")
def hanging():
    sleep(seconds=1000)
    sleep(seconds=1001)


@dsl.container_component
def absent():
    return dsl.ContainerSpec(image="python:3.11", command=["no-such-program"], args=[])


@dsl.pipeline(name="no-program")
def no_program():
    absent()


@py
def nothing(a: int, b: bool, c: list):
    print(a, b, c)


@dsl.pipeline(name="parameters")
def parameters(a: int, b: bool = True, c: list = []):
    nothing(a=a, b=b, c=c)


@py
def greedy():
    held = bytearray(300 << 20)
    print("held", len(held))


@py
def half():
    import time
    began, used = time.time(), time.process_time()
    while time.process_time() - used < 0.4:
        pass
    print("CORES", time.time() - began > 0.6)


@dsl.pipeline(name="limited")
def limited():
    greedy().set_memory_limit("64Mi")
    half().set_cpu_limit("500m")


@dsl.container_component
def write_outside():
    return dsl.ContainerSpec(image="python:3.11", command=["sh", "-c", "echo x > /no-such-folder/file"], args=[])


@dsl.pipeline(name="outside")
def outside():
    write_outside()
