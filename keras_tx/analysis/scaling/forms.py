"""The two published forms of the law: a loss of parameters N and tokens D, its gradient, and its optimum under a budget.

Each form is fitted in unknowns that may be any number: logarithms of its scales, and for an exponent x the logit of x / MOST. `n`
and `d` are log N and log D, moved so that the points lie around 0; `constants` counts N and D from 1 again.
"""

import numpy as np

EXPONENTS = (0.15, 0.3, 0.5, 0.8)  # where searches start
MOST = 5.0  # no exponent is larger


def _exponent(unknown):
    """Returns an exponent, and its derivative by the unknown."""
    share = 0.5 + 0.5 * np.tanh(0.5 * unknown)
    return MOST * share, MOST * share * (1 - share)


def _unknown(exponent):
    return np.log(exponent / (MOST - exponent))


class Hoffmann:
    """L = E + A / N^alpha + B / D^beta; the unknowns are log A, log B, log E and those of alpha and beta."""

    names = ("E", "A", "B", "alpha", "beta")
    distinct = 3  # sizes, and numbers of tokens: with two, E cannot be told from A / N^alpha
    exponents = {"alpha": "parameters", "beta": "tokens"}

    def log_loss(self, unknowns, n, d):
        """Returns log L, and its derivatives by the unknowns, (points, 5)."""
        a, b, e = unknowns[:3]
        (alpha, alpha_slope), (beta, beta_slope) = map(_exponent, unknowns[3:])
        terms = np.stack([a - alpha * n, b - beta * d, np.full(len(n), e)])
        found = np.logaddexp.reduce(terms)
        shares = np.exp(terms - found)
        return found, np.stack([*shares, -shares[0] * n * alpha_slope, -shares[1] * d * beta_slope], axis=1)

    def starts(self, n, d, losses):
        """Yields unknowns: for each pair of exponents the nearest scales, and those with E at half the least loss."""
        from scipy.optimize import nnls

        least = losses.min()
        for alpha in EXPONENTS:
            for beta in EXPONENTS:
                powers = np.stack([np.exp(-alpha * n), np.exp(-beta * d), np.ones(len(n))], axis=1)
                free = nnls(powers, losses)[0]
                held = [*nnls(powers[:, :2], losses - 0.5 * least)[0], 0.5 * least]
                for scales in (free, held):
                    yield np.array([*np.log(np.maximum(scales, 0.01 * least)), _unknown(alpha), _unknown(beta)])

    def constants(self, unknowns, n_middle, d_middle):
        """Returns the constants in the order of their names, for `n = log N - n_middle` and `d = log D - d_middle`."""
        a, b, e = unknowns[:3]
        alpha, beta = _exponent(unknowns[3:])[0]
        return np.array([np.exp(e), np.exp(a + alpha * n_middle), np.exp(b + beta * d_middle), alpha, beta])

    def loss(self, constants, parameters, tokens):
        """Returns the loss of arrays that broadcast against each other."""
        E, A, B, alpha, beta = constants
        return E + A * parameters**-alpha + B * tokens**-beta

    def balance(self, constants):
        """Returns (log G, a, b) of N = G (C / c0)^a and D = (C / c0)^b / G."""
        _, A, B, alpha, beta = constants
        # alpha A N^-alpha = beta B D^-beta where N D is held: alpha goes into the exponent of D, and beta into that of N.
        scale = (np.log(alpha) + np.log(A) - np.log(beta) - np.log(B)) / (alpha + beta)
        return scale, beta / (alpha + beta), alpha / (alpha + beta)


class Kaplan:
    """L = ((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D; the unknowns are log N_c, log D_c and those of the exponents."""

    names = ("N_c", "D_c", "alpha_N", "alpha_D")
    distinct = 2
    exponents = {"alpha_N": "parameters", "alpha_D": "tokens"}

    def log_loss(self, unknowns, n, d):
        """Returns log L, and its derivatives by the unknowns, (points, 4)."""
        n_c, d_c = unknowns[:2]
        (alpha_n, n_slope), (alpha_d, d_slope) = map(_exponent, unknowns[2:])
        terms = np.stack([alpha_n / alpha_d * (n_c - n), d_c - d])
        total = np.logaddexp(*terms)
        of_n, of_d = np.exp(terms - total)
        slopes = [alpha_n * of_n, alpha_d * of_d, of_n * (n_c - n) * n_slope, (total - of_n * terms[0]) * d_slope]
        return alpha_d * total, np.stack(slopes, axis=1)

    def starts(self, n, d, losses):
        """Yields unknowns: for each pair of exponents, scales at which one term, the other or both make the mean loss."""
        mean = np.log(losses).mean()
        for alpha_n in EXPONENTS:
            for alpha_d in EXPONENTS:
                for of_n, of_d in ((0.5, 0.5), (0.9, 0.1), (0.1, 0.9)):
                    n_c, d_c = (mean / alpha_n + np.log(of_n) * alpha_d / alpha_n, mean / alpha_d + np.log(of_d))
                    yield np.array([n_c, d_c, _unknown(alpha_n), _unknown(alpha_d)])

    def constants(self, unknowns, n_middle, d_middle):
        """Returns the constants in the order of their names, for `n = log N - n_middle` and `d = log D - d_middle`."""
        return np.array([*np.exp(unknowns[:2] + [n_middle, d_middle]), *_exponent(unknowns[2:])[0]])

    def loss(self, constants, parameters, tokens):
        """Returns the loss of arrays that broadcast against each other."""
        N_c, D_c, alpha_n, alpha_d = constants
        return ((N_c / parameters) ** (alpha_n / alpha_d) + D_c / tokens) ** alpha_d

    def balance(self, constants):
        """Returns (log G, a, b) of N = G (C / c0)^a and D = (C / c0)^b / G."""
        N_c, D_c, alpha_n, alpha_d = constants
        ratio = alpha_n / alpha_d
        # r (N_c / N)^r = D_c / D where N D is held.
        scale = (np.log(ratio) + ratio * np.log(N_c) - np.log(D_c)) / (1 + ratio)
        return scale, 1 / (1 + ratio), ratio / (1 + ratio)


FORMS = {"hoffmann": Hoffmann(), "kaplan": Kaplan()}
