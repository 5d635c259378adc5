"""`kfp local`: peer.py PIPELINE runs a compiled pipeline with the SubprocessRunner, without a venv."""

import sys

from kfp import components, local

local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[2], raise_on_error=True)
components.load_component_from_file(sys.argv[1])()
