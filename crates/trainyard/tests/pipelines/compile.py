"""Compiles every pipeline of a folder: each module's functions marked with `@dsl.pipeline`.

Usage: compile.py FOLDER OUTPUT
"""
import importlib.util
import pathlib
import sys
import warnings

warnings.simplefilter("ignore")

import kfp  # noqa: E402
from kfp import compiler  # noqa: E402

folder, output = map(pathlib.Path, sys.argv[1:])
output.mkdir(parents=True, exist_ok=True)
sys.path.insert(0, str(folder))
for source in sorted(folder.glob("*.py")):
    spec = importlib.util.spec_from_file_location(source.stem, source)
    module = importlib.util.module_from_spec(spec)
    sys.modules[source.stem] = module
    spec.loader.exec_module(module)
    for name in module.PIPELINES:
        target = output / f"{name}.yaml"
        compiler.Compiler().compile(getattr(module, name), str(target))
