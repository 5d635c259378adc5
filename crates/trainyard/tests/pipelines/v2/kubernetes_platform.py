"""What the Kubernetes platform adds."""
from kfp import dsl, kubernetes

PIPELINES = ["cluster", "deadline"]

py = dsl.component(base_image="python:3.11")


@py
def secrets():
    import os
    print("SECRET", os.environ["TOKEN"], open("/mnt/config/setting").read(), os.environ.get("NONE"))


@py
def put(text: str):
    open("/data/file", "a").write(text)


@py
def get():
    import os
    print("VOLUME", open("/data/file").read(), os.environ["LABEL"])


@dsl.pipeline(name="cluster")
def cluster(secret: str = "s"):
    one = secrets()
    kubernetes.use_secret_as_env(one, secret_name=secret, secret_key_to_env={"token": "TOKEN"})
    kubernetes.use_config_map_as_volume(one, config_map_name="c", mount_path="/mnt/config")
    kubernetes.use_secret_as_env(one, secret_name="missing", secret_key_to_env={"x": "NONE"}, optional=True)
    kubernetes.add_node_selector(one, "gpu", "a100")
    claim = kubernetes.CreatePVC(pvc_name_suffix="-data", access_modes=["ReadWriteMany"], size="1Gi",
                                 storage_class_name="standard")
    first = put(text="one")
    second = put(text="two").after(first)
    third = get().after(second)
    for task in (first, second, third):
        kubernetes.mount_pvc(task, pvc_name=claim.outputs["name"], mount_path="/data")
    kubernetes.add_pod_label(third, "team", "ml")
    kubernetes.use_field_path_as_env(third, env_name="LABEL", field_path="metadata.labels['team']")
    kubernetes.DeletePVC(pvc_name=claim.outputs["name"]).after(third)


@dsl.container_component
def sleep():
    return dsl.ContainerSpec(image="python:3.11", command=["sleep", "100"], args=[])


@dsl.pipeline(name="deadline")
def deadline():
    kubernetes.set_timeout(sleep(), 1)
