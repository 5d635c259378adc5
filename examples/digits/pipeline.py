"""Handwritten digits: data, one training a candidate, the best of them, a gate, and a word at the end.

    python pipeline.py digits.yaml
"""

import sys
from typing import List, NamedTuple

from kfp import compiler, dsl
from kfp.dsl import ClassificationMetrics, Dataset, Input, Markdown, Metrics, Model, Output

learning = dsl.component(base_image="python:3.11", packages_to_install=["scikit-learn>=1.7,<1.8"])
plain = dsl.component(base_image="python:3.11")


@learning
def prepare(seed: int, train: Output[Dataset], held_out: Output[Dataset]):
    import pickle

    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images, labels, test_size=0.25, random_state=seed, stratify=labels)
    for place, pair in ((train, parts[0::2]), (held_out, parts[1::2])):
        place.metadata["rows"] = len(pair[1])
        with open(place.path, "wb") as file:
            pickle.dump(pair, file)


@learning
def fit(strength: float, train: Input[Dataset], held_out: Input[Dataset], model: Output[Model],
        metrics: Output[Metrics], matrix: Output[ClassificationMetrics]) -> float:
    import pickle

    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import confusion_matrix
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with open(train.path, "rb") as file:
        images, labels = pickle.load(file)
    made = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500)).fit(images, labels)
    with open(held_out.path, "rb") as file:
        images, labels = pickle.load(file)
    accuracy = float(made.score(images, labels))
    metrics.log_metric("accuracy", accuracy)
    found = confusion_matrix(labels, made.predict(images))
    matrix.log_confusion_matrix([str(digit) for digit in range(10)], found.tolist())
    model.metadata.update(framework="scikit-learn", strength=strength)
    with open(model.path, "wb") as file:
        pickle.dump(made, file)
    print(f"strength {strength}: accuracy {accuracy:.3f}")
    return accuracy


@plain
def choose(accuracies: List[float], models: Input[List[Model]], best: Output[Model]) -> NamedTuple(
        "Chosen", [("accuracy", float), ("number", int)]):
    import shutil

    number = max(range(len(accuracies)), key=accuracies.__getitem__)
    shutil.copy(models[number].path, best.path)
    best.metadata.update(models[number].metadata, accuracy=accuracies[number])
    print(f"candidate {number} is the best: {accuracies[number]:.3f} of {accuracies}")
    return (accuracies[number], number)


@plain
def card(best: Input[Model], accuracy: float, text: Output[Markdown]):
    with open(text.path, "w") as file:
        file.write(f"# Digits\n\nAccuracy on held-out images: **{accuracy:.3f}** ({best.metadata['framework']})\n")


@plain
def refuse(accuracy: float, limit: float):
    raise SystemExit(f"the best accuracy is {accuracy:.3f}, and {limit} is asked for")


@plain
def report(status: dsl.PipelineTaskFinalStatus):
    print(f"training ended: {status.state} {status.error_message or ''}")


@dsl.pipeline(name="digits", description="Handwritten digits: several candidates, one model")
def digits(strengths: List[float] = [0.001, 0.05, 1.0], limit: float = 0.95, seed: int = 7):
    with dsl.ExitHandler(report()):
        data = prepare(seed=seed)
        with dsl.ParallelFor(strengths) as strength:
            one = fit(strength=strength, train=data.outputs["train"], held_out=data.outputs["held_out"])
        chosen = choose(accuracies=dsl.Collected(one.outputs["Output"]), models=dsl.Collected(one.outputs["model"]))
        with dsl.If(chosen.outputs["accuracy"] >= limit):
            card(best=chosen.outputs["best"], accuracy=chosen.outputs["accuracy"])
        with dsl.Else():
            refuse(accuracy=chosen.outputs["accuracy"], limit=limit)


if __name__ == "__main__":
    compiler.Compiler().compile(digits, sys.argv[1])
