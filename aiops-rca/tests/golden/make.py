"""Makes the golden values of the discovery tests; see README.md for versions and command."""
import json
import sys
import warnings

import numpy as np

warnings.filterwarnings("ignore")
out = sys.argv[1]


def var_data(seed, n_vars, n, burn=200):
    """A sparse, stable VAR(2); returns samples in rows."""
    rng = np.random.default_rng(seed)
    lags = np.zeros((2, n_vars, n_vars))
    for i in range(n_vars):
        lags[0, i, i] = 0.4
    for target, source, lag, weight in [(1, 0, 1, 0.5), (2, 1, 2, -0.4), (3, 2, 1, 0.3), (4, 0, 2, 0.35)]:
        lags[lag - 1, target, source] = weight
    x = np.zeros((n + burn, n_vars))
    noise = rng.normal(size=x.shape)
    for t in range(2, n + burn):
        x[t] = lags[0] @ x[t - 1] + lags[1] @ x[t - 2] + noise[t]
    return x[burn:]


def sem_data(seed, n_vars, n, noise):
    """A linear model over a random ordered graph; samples in rows, columns shuffled."""
    rng = np.random.default_rng(seed)
    weights = np.tril(rng.uniform(0.5, 1.0, (n_vars, n_vars)) * rng.choice([-1, 1], (n_vars, n_vars)), -1)
    weights *= rng.random((n_vars, n_vars)) < 0.35
    x = np.zeros((n, n_vars))
    for i in range(n_vars):
        x[:, i] = x[:, :i] @ weights[i, :i] + noise(rng, n)
    return x[:, rng.permutation(n_vars)]


def save(name, x):
    np.savetxt(f"{out}/{name}.csv", x, delimiter=",", fmt="%.9f")
    return np.loadtxt(f"{out}/{name}.csv", delimiter=",")


var = save("var", var_data(1, 5, 300))
sem = save("sem", sem_data(2, 8, 400, lambda rng, n: rng.normal(size=n)))


def svar_data(seed, n, burn=200):
    """Six variables with effects at lag 1 and within the step, in this order; samples in rows."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n + burn, 6))
    noise = rng.normal(size=x.shape)
    for t in range(1, n + burn):
        p = x[t - 1]
        x[t, 2] = 0.5 * p[2] + noise[t, 2]
        x[t, 0] = 0.4 * p[0] + 0.4 * p[2] + noise[t, 0]
        x[t, 1] = 0.6 * x[t, 0] + 0.5 * x[t, 2] + 0.3 * p[1] + noise[t, 1]
        x[t, 4] = 0.5 * x[t, 1] - 0.4 * p[5] + noise[t, 4]
        x[t, 3] = 0.5 * p[3] + noise[t, 3]
        x[t, 5] = 0.6 * x[t, 3] + 0.4 * x[t, 4] + noise[t, 5]
    return x[burn:]


def large_sem(n_vars=50, n=1000):
    """A linear model over 50 variables from a generator that the test repeats bit for bit, so that no table
    is needed: 64-bit congruential, noise as the sum of twelve uniforms."""
    state = 1

    def uniform():
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 11) / 2**53

    weights = [
        [(j, (0.5 + 0.5 * uniform()) * (1 if uniform() < 0.5 else -1)) for j in range(i) if uniform() < 0.06]
        for i in range(n_vars)
    ]
    rows = []
    for _ in range(n):
        row = []
        for i in range(n_vars):
            value = 0.0
            for _ in range(12):
                value += uniform()
            value -= 6.0
            for j, weight in weights[i]:
                value += weight * row[j]
            row.append(value)
        rows.append(row)
    return np.array(rows)


svar = save("svar", svar_data(4, 400))
lin = save("lingam", sem_data(3, 5, 400, lambda rng, n: rng.uniform(-1, 1, n)))
golden = {}

from statsmodels.tsa.api import VAR
from statsmodels.tsa.stattools import grangercausalitytests

golden["bivariate"] = []
for effect in range(5):
    for cause in range(5):
        if effect != cause:
            result = grangercausalitytests(var[:, [effect, cause]], 3)
            for lag in (1, 2, 3):
                f, fp, _, _ = result[lag][0]["ssr_ftest"]
                c, cp, _ = result[lag][0]["ssr_chi2test"]
                golden["bivariate"].append([cause, effect, lag, f, fp, c, cp])
golden["order"] = []
for effect in range(5):
    for cause in range(5):
        if effect != cause:
            order = VAR(var[:, [effect, cause]]).select_order(6, trend="c")
            golden["order"].append([cause, effect, int(order.aic), int(order.bic)])
fit = VAR(var).fit(2, trend="c")
golden["conditional"] = []
for effect in range(5):
    for cause in range(5):
        if effect != cause:
            wald = fit.test_causality(effect, [cause], kind="wald")
            f = fit.test_causality(effect, [cause], kind="f")
            golden["conditional"].append([cause, effect, wald.test_statistic, wald.pvalue, f.test_statistic, f.pvalue])

from causallearn.search.ConstraintBased.PC import pc

golden["pc"] = {}
for alpha in (0.01, 0.05):
    graph = pc(sem, alpha, "fisherz", stable=True, uc_rule=0, uc_priority=2, show_progress=False).G.graph
    directed, undirected = [], []
    for i in range(8):
        for j in range(8):
            if graph[i, j] == -1 and graph[j, i] == 1:
                directed.append([i, j])
            if i < j and graph[i, j] == -1 and graph[j, i] == -1:
                undirected.append([i, j])
    golden["pc"][str(alpha)] = {"directed": directed, "undirected": undirected}

golden["pc_large"] = {}
for alpha in (0.01, 0.05):
    graph = pc(large_sem(), alpha, "fisherz", stable=True, uc_rule=0, uc_priority=2, show_progress=False).G.graph
    golden["pc_large"][str(alpha)] = [[i, j] for i in range(50) for j in range(i + 1, 50) if graph[i, j] != 0]

import tigramite.data_processing as pp
from tigramite.independence_tests.parcorr import ParCorr
from tigramite.pcmci import PCMCI

pcmci = PCMCI(dataframe=pp.DataFrame(var), cond_ind_test=ParCorr(significance="analytic"), verbosity=0)
result = pcmci.run_pcmci(tau_min=1, tau_max=2, pc_alpha=0.05)
golden["pcmci"] = [
    [i, j, tau, float(result["val_matrix"][i, j, tau]), float(result["p_matrix"][i, j, tau])]
    for i in range(5) for j in range(5) for tau in (1, 2)
]

golden["pcmci_plus"] = {}
for name, table in (("var", var), ("svar", svar)):
    for alpha in (0.01, 0.05):
        plus = PCMCI(dataframe=pp.DataFrame(table), cond_ind_test=ParCorr(significance="analytic"), verbosity=0)
        graph = plus.run_pcmciplus(tau_min=0, tau_max=2, pc_alpha=alpha)["graph"]
        directed, undirected = [], []
        for i in range(table.shape[1]):
            for j in range(table.shape[1]):
                for tau in (0, 1, 2):
                    mark = graph[i, j, tau]
                    if i != j and mark == "-->":
                        directed.append([i, j, tau])
                    if i < j and mark in ("o-o", "x-x"):
                        undirected.append([i, j])
        golden["pcmci_plus"][f"{name} {alpha}"] = {"directed": directed, "undirected": undirected}

from causallearn.utils.cit import CIT

# Three categories each, cut at -1 and 1.
categories = (sem > -1).astype(float) + (sem > 1)
gsq = CIT(categories, "gsq")
golden["g_square"] = [
    [x, y, *given, float(gsq(x, y, list(given)))]
    for x, y, given in [(0, 1, ()), (2, 5, ()), (0, 1, (2,)), (3, 7, (1,)), (4, 6, (0, 5)), (1, 2, (3, 4, 7))]
]
golden["pc_g_square"] = {}
for alpha in (0.01, 0.05):
    graph = pc(categories, alpha, "gsq", stable=True, uc_rule=0, uc_priority=2, show_progress=False).G.graph
    directed, undirected = [], []
    for i in range(8):
        for j in range(8):
            if graph[i, j] == -1 and graph[j, i] == 1:
                directed.append([i, j])
            if i < j and graph[i, j] == -1 and graph[j, i] == -1:
                undirected.append([i, j])
    golden["pc_g_square"][str(alpha)] = {"directed": directed, "undirected": undirected}

from causallearn.search.FCMBased import lingam

model = lingam.DirectLiNGAM()
model.fit(lin)
golden["direct_lingam"] = {"order": [int(i) for i in model.causal_order_]}
ols = []
for at, target in enumerate(model.causal_order_):
    parents = list(model.causal_order_[:at])
    if parents:
        design = np.column_stack([np.ones(len(lin)), lin[:, parents]])
        beta = np.linalg.lstsq(design, lin[:, target], rcond=None)[0]
        ols += [[int(p), int(target), float(b)] for p, b in zip(parents, beta[1:])]
golden["direct_lingam"]["weights"] = ols

from statsmodels.stats.multitest import multipletests

p = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216]
golden["adjusted"] = {"p": p}
for name, method in (("bh", "fdr_bh"), ("by", "fdr_by"), ("bonferroni", "bonferroni")):
    golden["adjusted"][name] = [float(v) for v in multipletests(p, method=method)[1]]

from statsmodels.tsa.stattools import adfuller

# Each column itself, summed up (which wanders), and on top of a line.
unit_root = []
for column in range(5):
    for shape, series in (
        ("itself", var[:, column]),
        ("sum", np.cumsum(var[:, column])),
        ("line", var[:, column] + 0.05 * np.arange(len(var))),
    ):
        for regression in ("c", "ct"):
            stat, p_value, lags = adfuller(series, regression=regression, autolag="AIC")[:3]
            unit_root.append([column, shape, regression, float(stat), float(p_value), int(lags)])
golden["unit_root"] = unit_root
json.dump(golden, open(f"{out}/golden.json", "w"), indent=0, default=float)
