"""Pipelines of kfp 1.8: `dsl.ContainerOp` and lightweight functions."""
import kfp
from kfp import dsl
from kfp.components import create_component_from_func, InputPath, OutputPath
from kubernetes import client as k8s
from typing import NamedTuple

PIPELINES = ['rich', 'three', 'vop']

def add(a: int, b: int) -> int:
    print('adding', a, b)
    return a + b
add_op = create_component_from_func(add, base_image='python:3.11')

def many(n: int) -> NamedTuple('O', [('items', list), ('text', str)]):
    import collections
    return ([{'x': i, 'y': str(i)} for i in range(n)], 'hello')
many_op = create_component_from_func(many, base_image='python:3.11')

def write(path: OutputPath(str), n: int = 3):
    open(path, 'w').write('\n'.join(map(str, range(n))))
write_op = create_component_from_func(write, base_image='python:3.11')
def read(path: InputPath(str)) -> int:
    return len(open(path).read().split())
read_op = create_component_from_func(read, base_image='python:3.11')

def step(name, cmd, **kw):
    return dsl.ContainerOp(name=name, image='python:3.11', command=['sh', '-c'], arguments=[cmd], **kw)

@dsl.pipeline(name='rich v1', description='d')
def rich(a: int = 3, msg: str = 'hi'):
    ex = step('exit', 'echo EXIT {{workflow.status}}')
    with dsl.ExitHandler(ex):
        s = add_op(a, 4)
        m = many_op(2)
        w = write_op(5)
        r = read_op(w.output)
        with dsl.Condition(s.output > 3, 'big'):
            step('big', f'echo BIG {s.output} {msg}').set_retry(2)
        with dsl.Condition(s.output <= 3):
            step('small', 'echo SMALL')
        with dsl.ParallelFor([{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'y'}]) as item:
            add_op(item.a, s.output)
        with dsl.ParallelFor(m.outputs['items']) as it:
            step('item', f'echo ITEM {it.x} {it.y}')
        f = dsl.ContainerOp(name='files', image='python:3.11', command=['sh','-c'], arguments=['echo -n 42 > /tmp/answer'], file_outputs={'answer': '/tmp/answer'})
        step('after', f'echo got {f.output}').after(r)

@dsl.pipeline(name='three')
def three():
    v = k8s.V1Volume(name='data', persistent_volume_claim=k8s.V1PersistentVolumeClaimVolumeSource(claim_name='data-claim'))
    m = k8s.V1VolumeMount(name='data', mount_path='/data')
    a = step('first', 'echo one >> /data/log'); b = step('second', 'echo two >> /data/log'); c = step('third', 'cat /data/log; echo three >> /data/log')
    for o in (a,b,c):
        o.add_volume(v); o.add_volume_mount(m)
    b.after(a); c.after(b)
@dsl.pipeline(name='vop')
def vop():
    v = dsl.VolumeOp(name='mk', resource_name='mine', size='1Gi', modes=dsl.VOLUME_MODE_RWO)
    a = step('first', 'echo one >> /mnt/log', pvolumes={'/mnt': v.volume})
    step('second', 'cat /mnt/log', pvolumes={'/mnt': a.pvolume})
