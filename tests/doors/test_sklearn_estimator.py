"""Estimators of scikit-learn: their decision functions, exactly; their labels; and what is not piecewise linear, refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wdaverify import NetworkError, from_sklearn, load_network

pytest.importorskip("sklearn")
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron, Ridge, RidgeClassifier, SGDClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, PolynomialFeatures, RobustScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
PAIR = np.array(["no", "yes"])[(Y == 2).astype(int)]


def fitted(estimator: Any, y: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(X, y)


def mlp(**words: Any) -> MLPClassifier:
    return MLPClassifier((6, 5), max_iter=60, random_state=0, **words)


CASES = {
    "logistic": (LogisticRegression(max_iter=50), NAMES),
    "logistic of two": (LogisticRegression(max_iter=50), PAIR),
    "linear svc": (LinearSVC(), Y),
    "ridge classifier": (RidgeClassifier(), NAMES),
    "sgd": (SGDClassifier(random_state=0), NAMES),
    "perceptron": (Perceptron(random_state=0), Y),
    "mlp": (make_pipeline(StandardScaler(), mlp()), NAMES),
    "mlp of two": (make_pipeline(StandardScaler(with_mean=False), "passthrough", mlp()), PAIR),
    "tanh mlp": (mlp(activation="tanh"), Y),
    "logistic mlp of two": (make_pipeline(StandardScaler(), mlp(activation="logistic")), PAIR),
    "identity mlp": (make_pipeline(StandardScaler(with_std=False), mlp(activation="identity")), Y),
    "clipped": (make_pipeline(MinMaxScaler((-1, 1), clip=True), mlp()), NAMES),
    "scalers": (make_pipeline(make_pipeline(RobustScaler(), MaxAbsScaler()), MinMaxScaler(), mlp()), NAMES),
    "regressor": (
        make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(6,), max_iter=60, random_state=0)),
        Y.astype(float),
    ),
    "two regressions": (Ridge(), np.stack([Y, -2.0 * Y], 1)),
    "linear": (LinearRegression(fit_intercept=False), Y.astype(float)),
}


def scores(estimator: Any, x: Any) -> Any:
    """By scikit-learn's own arithmetic: what stands in front of probabilities."""
    if hasattr(estimator, "decision_function"):
        return estimator.decision_function(x)
    if not hasattr(estimator, "predict_proba"):
        return estimator.predict(x)
    probability = estimator.predict_proba(x)
    if probability.shape[1] == 2:
        return np.log(probability[:, 1]) - np.log(probability[:, 0])
    return np.log(probability)


@pytest.mark.parametrize("name", CASES)
def test_a_network_gives_the_estimators_scores(name: str, tmp_path: Path) -> None:
    estimator, y = CASES[name]
    estimator = fitted(estimator, y)
    network = from_sklearn(estimator, X)
    x = np.random.default_rng(0).normal(size=(50, 4)) * 2 + X.mean(axis=0)
    out, true = network.forward(x), np.asarray(scores(estimator, x)).reshape(50, -1)
    if "mlp" in name or name in ("clipped", "scalers"):  # probabilities know them up to one number a row
        out, true = (out, true) if true.shape[1] == 1 else (out - out[:, :1], true - true[:, :1])
        np.testing.assert_allclose(out, true, atol=1e-6)
    else:
        np.testing.assert_allclose(out, true, atol=1e-12)
    assert "at the 100 rows given" in network.notices[-1]
    assert "drawn around the origin" in from_sklearn(estimator).notices[-1]
    if y.dtype.kind in "US" or y.dtype.kind == "i":
        predicted = network.forward(X)
        chosen = predicted.argmax(axis=1) if predicted.shape[1] > 1 else (predicted[:, 0] > 0).astype(int)
        assert network.classes is not None
        assert [network.classes[k] for k in chosen] == estimator.predict(X).tolist()
    else:
        assert network.classes == ()
    network.save(tmp_path / "net.onnx")
    again = load_network(tmp_path / "net.onnx")
    assert again.sha256 == network.sha256
    np.testing.assert_array_equal(again.forward(x), network.forward(x))


def test_weights_are_the_doubles_that_are_stored() -> None:
    estimator = fitted(LogisticRegression(max_iter=50), Y)
    network = from_sklearn(estimator)
    zero = network.forward(np.zeros((1, 4)))[0]
    np.testing.assert_array_equal(zero, estimator.intercept_)


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (fitted(SVC(), Y), ["of type SVC", "LinearSVC"]),
        (mlp(), ["MLPClassifier is not fitted", "call fit"]),
        (
            fitted(make_pipeline(PolynomialFeatures(), LogisticRegression(max_iter=5)), Y),
            ["PolynomialFeatures", "StandardScaler"],
        ),
        (make_pipeline(StandardScaler(), LogisticRegression()), ["LogisticRegression is not fitted"]),
        (fitted(mlp(), np.stack([Y > 0, Y > 1], 1)), ["several labels"]),
        (fitted(RidgeClassifier(), np.stack([Y > 0, Y > 1], 1)), ["several labels"]),
        (MLPClassifier, ["estimator of type"]),
        (3, ["estimator 3"]),
    ],
)
def test_what_is_none_of_them_is_refused(estimator: Any, words: list[str]) -> None:
    with pytest.raises(NetworkError) as refused:
        from_sklearn(estimator, X)
    assert "\n" not in str(refused.value)
    for word in words:
        assert word in str(refused.value)


def test_rows_that_are_not_its_own_are_refused() -> None:
    with pytest.raises(NetworkError, match="does not take X"):
        from_sklearn(fitted(LogisticRegression(max_iter=50), Y), X[:, :3])


def test_a_scaler_left_out_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = fitted(make_pipeline(StandardScaler(), LogisticRegression(max_iter=50)), Y)
    monkeypatch.setattr("wdaverify.doors.sklearn_estimator._scale", lambda writer, scaler: None)
    with pytest.raises(NetworkError, match="is not what was exported"):
        from_sklearn(estimator, X)
