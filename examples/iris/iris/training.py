"""Train one model on the iris data set that comes with scikit-learn."""

from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from iris.metrics import Metrics

MODELS = ("logistic", "forest")
TEST_SHARE = 0.2
FOLDS = 5


def build(model: str, seed: int) -> Pipeline:
    """An untrained model; scaling is part of it, so that no fold sees another's statistics."""
    match model:
        case "logistic":
            return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        case "forest":
            return make_pipeline(RandomForestClassifier(n_estimators=50, random_state=seed))
        case _:
            raise ValueError(f"unknown model {model!r}, expected one of {', '.join(MODELS)}")


def train(model: str, seed: int) -> Metrics:
    """Cross-validate on the training flowers, then fit them all and score the held-out ones.

    The seed fixes split, folds and forest: models with the same seed saw the same flowers.
    """
    features, species = load_iris(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        features, species, test_size=TEST_SHARE, stratify=species, random_state=seed
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    scores = cross_val_score(build(model, seed), x_train, y_train, cv=folds)
    predicted = build(model, seed).fit(x_train, y_train).predict(x_test)
    return Metrics(
        model=model,
        seed=seed,
        n_train=len(x_train),
        n_test=len(x_test),
        accuracy=round(float(accuracy_score(y_test, predicted)), 4),
        f1_macro=round(float(f1_score(y_test, predicted, average="macro")), 4),
        cv_mean=round(float(scores.mean()), 4),
        cv_std=round(float(scores.std()), 4),
    )
