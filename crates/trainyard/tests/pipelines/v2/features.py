"""One pipeline for each part of the language; tasks assert what they get, and print what is looked for."""
import pathlib
from typing import Dict, List, NamedTuple, Optional

from kfp import dsl
from kfp.dsl import (Artifact, ClassificationMetrics, Dataset, HTML, Input, Markdown, Metrics, Model,
                     Output, OutputPath)

PIPELINES = [
    "training", "containers", "nested_loops", "one_of", "optional_inputs", "types", "retries",
    "caching", "imports", "failing_body", "ignoring", "workspace", "visual", "placeholders",
    "artifact_loop", "get_uri", "loop_over_nothing", "sub_retry", "exit_pipeline", "skipped_branches", "shells",
    "stores", "brought", "own_path", "own_process",
    "by_artifact", "in_place", "gives", "embedded", "notebook", "two_at_once",
]

py = dsl.component(base_image="python:3.11")


@py
def show(text: str) -> str:
    print("SHOW", text)
    return text


@py
def prep(n: int, data: Output[Dataset]) -> List[int]:
    data.metadata["rows"] = n
    with open(data.path, "w") as file:
        file.write("\n".join(map(str, range(n))))
    return list(range(1, n + 1))


@py
def train(lr: int, data: Input[Dataset], model: Output[Model], metrics: Output[Metrics]) -> float:
    assert data.metadata["rows"] == len(open(data.path).read().split())
    assert isinstance(lr, int) and isinstance(data.metadata["rows"], int)
    model.metadata["framework"] = "none"
    open(model.path, "w").write(f"model {lr}")
    metrics.log_metric("accuracy", lr / 10)
    return lr / 10


@py
def best(accuracies: List[float], models: Input[List[Model]]) -> float:
    print("BEST", accuracies, [open(m.path).read() for m in models])
    return max(accuracies)


@py
def cleanup(status: dsl.PipelineTaskFinalStatus):
    print("CLEANUP", status.state, status.pipeline_task_name, status.error_message)


@dsl.pipeline(name="training", description="Data, a loop, a condition and an exit handler")
def training(n: int = 3, limit: float = 0.25):
    with dsl.ExitHandler(cleanup()):
        data = prep(n=n)
        with dsl.ParallelFor(data.outputs["Output"], parallelism=2) as lr:
            one = train(lr=lr, data=data.outputs["data"])
        found = best(accuracies=dsl.Collected(one.outputs["Output"]),
                     models=dsl.Collected(one.outputs["model"]))
        with dsl.If(found.outputs["Output"] > limit):
            show(text=f"good: {found.outputs['Output']}")
        with dsl.Else():
            show(text="bad")


@dsl.container_component
def greet(name: str, greeting: dsl.OutputPath(str), log: Output[Artifact], loud: Optional[str] = None):
    return dsl.ContainerSpec(
        image="python:3.11",
        command=["sh", "-c", 'echo "$0|$1|$2|$3|$#"; printf %s "$0" > "$4"; echo log > "$5"; shift 5; echo "REST $*"'],
        args=[
            dsl.ConcatPlaceholder(["hello ", name]),
            "{{$.inputs.parameters['name']}}",
            "{{$.json_escape[1]}}",
            "'quoted' \"$HOME\"",
            greeting,
            log.path,
            dsl.IfPresentPlaceholder("loud", then=["--loud", loud], else_=["--quiet"]),
        ])


@dsl.container_component
def numbers(count: dsl.OutputPath(int), flag: dsl.OutputPath(bool), items: dsl.OutputPath(list)):
    return dsl.ContainerSpec(
        image="alpine", command=["sh", "-c"],
        args=['echo 7 > "$0"; echo True > "$1"; echo "[1, 2.0]" > "$2"', count, flag, items])


@py
def check_numbers(count: int, flag: bool, items: list):
    assert (count, flag, items) == (7, True, [1, 2]), (count, flag, items)
    assert str(items) == "[1, 2]", items
    print("NUMBERS FINE")


@dsl.pipeline(name="containers")
def containers(name: str = "it's {{$.inputs.parameters['x']}} \"me\""):
    one = greet(name=name, loud="yes")
    one.set_env_variable("HOME", "/nowhere")
    show(text=one.outputs["greeting"])
    greet(name="two")
    made = numbers()
    check_numbers(count=made.outputs["count"], flag=made.outputs["flag"], items=made.outputs["items"])


@py
def pair(a: int, b: int, out: Output[Artifact]) -> int:
    open(out.path, "w").write(f"{a}{b}")
    return a * 10 + b


@py
def flat(values: list, files: Input[List[Artifact]]):
    print("NESTED", values, [open(f.path).read() for f in files])


@dsl.pipeline(name="nested-loops")
def nested_loops():
    with dsl.ParallelFor([1, 2, 3]) as a:
        with dsl.ParallelFor([4, 5]) as b:
            made = pair(a=a, b=b)
    flat(values=dsl.Collected(made.outputs["Output"]), files=dsl.Collected(made.outputs["out"]))


@py
def choose(which: str) -> str:
    return which


@py
def write(text: str, out: Output[Artifact]) -> str:
    open(out.path, "w").write(text)
    return text


@py
def read(given: Input[Artifact], text: str):
    print("ONEOF", open(given.path).read(), text)


@dsl.pipeline(name="one-of")
def one_of(which: str = "b"):
    coin = choose(which=which)
    with dsl.If(coin.output == "a"):
        a = write(text="from a")
    with dsl.Elif(coin.output == "b"):
        b = write(text="from b")
    with dsl.Else():
        c = write(text="from c")
    read(given=dsl.OneOf(a.outputs["out"], b.outputs["out"], c.outputs["out"]),
         text=dsl.OneOf(a.outputs["Output"], b.outputs["Output"], c.outputs["Output"]))


@py
def optional(required: str, text: str = "own default", number: Optional[int] = None,
             given: Input[Artifact] = None):
    print("OPTIONAL", required, text, number, given)


@dsl.pipeline
def inner_optional(text: Optional[str] = None, number: int = 5):
    optional(required="inner", text=text, number=number)


@dsl.pipeline(name="optional-inputs")
def optional_inputs(text: Optional[str] = None):
    optional(required="alone")
    optional(required="outer", text=text)
    inner_optional()
    inner_optional(text="given", number=6)


@py
def typed(s: str, i: int, f: float, b: bool, l: list, d: dict, anything: str) -> NamedTuple(
        "Out", [("l", list), ("d", dict), ("b", bool), ("f", float)]):
    assert type(s) is str and type(i) is int and type(b) is bool, (s, i, b)
    print("TYPES", s, i, f, b, l, d, anything)
    return (l, d, b, f)


@py
def numbers_of(x: int, y: int):
    print("ITEM", repr(x), repr(y))


@py
def texts_of(x: str, y: str):
    print("ITEM", repr(x), repr(y))


@py
def items() -> List[Dict[str, str]]:
    return [{"x": "1", "y": "it's"}, {"x": "2", "y": 'a "b"'}]


@dsl.pipeline(name="types")
def types(l: list = [1, 2.5, {"k": "v"}], d: dict = {"A": 1, "a": [True]}, b: bool = False):
    made = typed(s="text", i=3, f=2.0, b=b, l=l, d=d, anything="x")
    typed(s="again", i=4, f=made.outputs["f"], b=made.outputs["b"], l=made.outputs["l"],
          d=made.outputs["d"], anything="y")
    with dsl.ParallelFor([{"x": 1, "y": 10}, {"x": 2, "y": 20}]) as item:
        numbers_of(x=item.x, y=item.y)
    found = items()
    with dsl.ParallelFor(found.output) as item:
        texts_of(x=item.x, y=item.y)


@py
def flaky(path: str, wanted: int):
    import os
    with open(path, "a") as file:
        file.write("x")
    tries = os.path.getsize(path)
    assert tries >= wanted, f"try {tries}"
    print("TRIES", tries)


@dsl.pipeline(name="retries")
def retries(path: str):
    flaky(path=path, wanted=3).set_retry(num_retries=2, backoff_duration="0s", backoff_factor=1.0)


@dsl.pipeline
def inner_flaky(path: str):
    flaky(path=path, wanted=2)


@dsl.pipeline(name="sub-retry")
def sub_retry(path: str):
    inner_flaky(path=path).set_retry(num_retries=1, backoff_duration="0s")


@py
def count(path: str, n: int, out: Output[Dataset]) -> int:
    with open(path, "a") as file:
        file.write("x")
    open(out.path, "w").write(str(n))
    return n + 1


@dsl.pipeline(name="caching")
def caching(path: str, n: int = 1):
    first = count(path=path, n=n)
    second = count(path=path, n=first.outputs["Output"])
    show(text=f"{second.outputs['Output']}")
    count(path=path, n=100).set_caching_options(False)


@py
def look(given: Input[Dataset]):
    print("IMPORTED", given.uri, given.metadata, open(given.path).read())


@dsl.pipeline(name="imports")
def imports(uri: str, source: str = "tests"):
    found = dsl.importer(artifact_uri=uri, artifact_class=Dataset, reimport=False,
                         metadata={"source": source, "n": 1})
    look(given=found.output)


@py
def fail(text: str):
    import sys
    sys.exit(text)


@dsl.pipeline(name="failing-body")
def failing_body():
    with dsl.ExitHandler(cleanup()):
        show(text="first").after(show(text="before"))
        broken = fail(text="on purpose")
        show(text="never").after(broken)


@py
def after_all(text: str = "nothing came"):
    print("AFTER ALL", text)


@py
def broken_output() -> str:
    raise RuntimeError("no output")


@dsl.pipeline(name="ignoring")
def ignoring():
    made = broken_output()
    after_all(text=made.output).ignore_upstream_failure()


@py
def put(path: str, text: str):
    import os
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "w").write(text)


@py
def get(path: str):
    print("WORKSPACE", open(path).read())


@dsl.pipeline(name="workspace", pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi")))
def workspace():
    one = put(path=f"{dsl.WORKSPACE_PATH_PLACEHOLDER}/a/b", text="shared")
    get(path=f"{dsl.WORKSPACE_PATH_PLACEHOLDER}/a/b").after(one)


@py
def draw(metrics: Output[ClassificationMetrics], page: Output[HTML], notes: Output[Markdown],
         numbers: Output[Metrics]):
    metrics.log_confusion_matrix(["a", "b"], [[1, 2], [3, 4]])
    metrics.log_roc_curve([0.0, 1.0], [0.0, 1.0], [0.5, 0.1])
    open(page.path, "w").write("<b>page</b>")
    open(notes.path, "w").write("# notes")
    numbers.log_metric("f1", 0.5)


@dsl.pipeline(name="visual")
def visual():
    draw()


@dsl.pipeline(name="placeholders", display_name="Places")
def placeholders():
    show(text=dsl.PIPELINE_JOB_NAME_PLACEHOLDER)
    show(text=f"id={dsl.PIPELINE_JOB_ID_PLACEHOLDER} task={dsl.PIPELINE_TASK_NAME_PLACEHOLDER}")
    show(text=dsl.PIPELINE_TASK_ID_PLACEHOLDER)
    show(text=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER)
    show(text=dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER)


@py
def use(given: Input[Artifact]):
    print("USE", open(given.path).read())


@dsl.pipeline
def make_files() -> List[Artifact]:
    with dsl.ParallelFor(["x", "y"]) as text:
        made = write(text=text)
    return dsl.Collected(made.outputs["out"])


@dsl.pipeline(name="artifact-loop")
def artifact_loop():
    with dsl.ParallelFor(items=make_files().output) as one:
        use(given=one)


@py
def returned() -> Dataset:
    made = Dataset(name="mine", uri=dsl.get_uri("folder"), metadata={"by": "return"})
    import os
    os.makedirs(made.path)
    open(made.path + "/part", "w").write("in a folder")
    return made


@py
def folder(given: Input[Dataset]):
    print("FOLDER", open(given.path + "/part").read(), given.metadata)


@dsl.pipeline(name="get-uri")
def get_uri():
    folder(given=returned().output)


@py
def empty() -> List[int]:
    return []


@py
def total(values: List[int]):
    print("TOTAL", values)


@py
def same(n: int) -> int:
    return n


@dsl.pipeline(name="loop-over-nothing")
def loop_over_nothing():
    with dsl.ParallelFor(empty().output) as n:
        one = same(n=n)
    total(values=dsl.Collected(one.output))


@dsl.pipeline
def goodbye(status: str = "none"):
    said = show(text=f"goodbye {status}")
    with dsl.If(said.output == "goodbye none"):
        show(text="a whole pipeline")


@dsl.pipeline(name="exit-pipeline")
def exit_pipeline():
    with dsl.ExitHandler(goodbye()):
        show(text="body")


@dsl.pipeline(name="skipped-branches")
def skipped_branches():
    with dsl.ParallelFor([1, 2, 3, 4]) as n:
        with dsl.If(n > 2):
            one = same(n=n)
    total(values=dsl.Collected(one.output))


@dsl.container_component
def make(out: Output[Artifact], name: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="busybox", command=["sh", "-c"],
                             args=['mkdir "$0"; echo content > "$0/file"; printf folder > "$1"', out.path, name])


@dsl.container_component
def list_it(given: Input[Artifact], name: str):
    return dsl.ContainerSpec(image="busybox", command=["sh", "-c", 'echo "LISTED $(ls "$0") $(cat "$0/file") $1"'],
                             args=[given.path, name])


@dsl.pipeline(name="shells")
def shells():
    made = make()
    list_it(given=made.outputs["out"], name=made.outputs["name"])


@py
def double(n: int) -> int:
    return 2 * n


@py
def list_words(after: int) -> list:
    return ["a", "b"]


@dsl.pipeline(name="gives")
def gives(n: int) -> NamedTuple("Given", [("doubled", int), ("words", list)]):
    doubled = double(n=n)
    given = NamedTuple("Given", [("doubled", int), ("words", list)])
    return given(doubled.output, list_words(after=doubled.output).output)


@py
def data_of(i: int, data: Output[Dataset]):
    with open(data.path, "w") as file:
        file.write(f"data {i}")


@py
def model_of(data: Input[Dataset], model: Output[Model]):
    with open(data.path) as given, open(model.path, "w") as file:
        file.write("model of " + given.read())


@py
def got(model: Input[Model]):
    print("GOT", open(model.path).read())


@dsl.pipeline(name="by-artifact")
def by_artifact(i: int):
    got(model=model_of(data=data_of(i=i).outputs["data"]).outputs["model"])


@py
def spoil(data: Input[Dataset]) -> str:
    with open(data.path, "a") as file:
        file.write(" spoiled")
    return "spoiled"


@py
def got_data(data: Input[Dataset], after: str):
    print("GOT", open(data.path).read())


@dsl.pipeline(name="in-place")
def in_place():
    made = data_of(i=1)
    spoiled = spoil(data=made.outputs["data"]).set_caching_options(False)
    got_data(data=made.outputs["data"], after=spoiled.output).set_caching_options(False)


@py
def process_of_its_own(text: str):
    import atexit
    import multiprocessing
    import os
    import subprocess
    import sys
    import threading
    import time
    assert sys.stdin.read() == "" and not os.isatty(1)
    assert os.getsid(0) == os.getpid() or os.getppid() != 1
    assert os.path.samefile(os.getcwd(), sys.path[1]), sys.path
    assert sys.argv[0].endswith("executor_main.py"), sys.argv
    assert os.environ["GIVEN"] == text and os.environ["_KFP_RUNTIME"] == "true"
    assert os.environ["TMPDIR"] in __file__, __file__
    assert sys.prefix != sys.base_prefix and sys.executable.startswith(sys.prefix)
    found = subprocess.run([sys.executable, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True)
    assert found.stdout.strip() == sys.prefix, found
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(abs, [-1, 2]) == [1, 2]
    subprocess.run(["echo", "OWN child"], check=True)
    threading.Thread(target=lambda: (time.sleep(0.2), print("OWN thread"))).start()
    atexit.register(lambda: print("OWN exit", flush=True))
    os.write(2, b"OWN error stream\n")
    print("OWN end")


@dsl.pipeline(name="own-process")
def own_process(text: str = "a value"):
    process_of_its_own(text=text).set_env_variable("GIVEN", "a value")
    process_of_its_own(text=text).set_env_variable("GIVEN", "a value").set_env_variable("PYTHONUNBUFFERED", "1")


@py
def write_elsewhere(out: Output[Dataset], place: str):
    out.path = place
    with open(place, "w") as file:
        file.write("moved")


@py
def find_it(given: Input[Dataset]):
    print("FOUND", open(given.path).read())


@dsl.pipeline(name="own-path")
def own_path(place: str):
    find_it(given=write_elsewhere(place=place).outputs["out"])


@py
def make_both(model: Output[Model], folder: Output[Dataset]) -> str:
    import os
    with open(model.path, "w") as file:
        file.write("weights")
    os.makedirs(folder.path + "/sub")
    with open(folder.path + "/sub/b c#1", "w") as file:
        file.write("b")
    return dsl.get_uri("x")


@py
def use_both(model: Input[Model], folder: Input[Dataset], uri: str):
    import os
    print("STORED", model.path.split("/")[1], open(model.path).read(), os.listdir(folder.path + "/sub"), uri[:14])


@dsl.pipeline(name="stores")
def stores():
    made = make_both()
    use = use_both(model=made.outputs["model"], folder=made.outputs["folder"], uri=made.outputs["Output"])
    use.set_caching_options(False)


@py
def look_around(given: Input[Dataset]):
    print("BROUGHT", given.path.split(".artifacts")[1], open(given.path).read())


@dsl.pipeline(name="brought", pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi")))
def brought(uri: str):
    found = dsl.importer(artifact_uri=uri, artifact_class=Dataset, download_to_workspace=True)
    look_around(given=found.output)


HERE = pathlib.Path(__file__).parent


@dsl.component(base_image="python:3.11", embedded_artifact_path=str(HERE / "carried.txt"))
def carried(file: dsl.EmbeddedInput[Dataset]):
    print("EMBEDDED", open(file.path).read().strip())


@dsl.pipeline(name="embedded")
def embedded():
    carried()


@dsl.notebook_component(notebook_path=str(HERE / "double.ipynb"), base_image="python:3.11")
def in_notebook(n: int):
    dsl.run_notebook(n=n)


@dsl.pipeline(name="notebook")
def notebook(n: int):
    in_notebook(n=n)


@py
def opened(folder: str, n: int):
    import os
    import time
    place = os.path.join(folder, str(n))
    open(place, "w").close()
    print("OPEN", len(os.listdir(folder)), flush=True)
    time.sleep(0.2)
    os.remove(place)


@dsl.pipeline(name="two-at-once")
def two_at_once(folder: str):
    with dsl.ParallelFor([1, 2, 3, 4, 5, 6], parallelism=2) as n:
        opened(folder=folder, n=n)
