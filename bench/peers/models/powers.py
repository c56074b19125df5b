"""Kernels of diagonal state spaces, from exponents and weights of their modes (D, M), complex:
K[d, l] = Re sum_m weight[d, m] exp(exponent[d, m] l)."""

import math

import torch


def direct(exponent, weight, length):
    """Every power of every mode, (D, M, L). -> (D, L)"""
    powers = torch.exp(exponent.unsqueeze(2) * torch.arange(length))
    return torch.einsum("dm,dml->dl", weight, powers).real


def turned(exponent):
    """In single precision, with angles of at most half a turn; from double precision, because whole turns
    between tokens cost digits of every power."""
    angle = exponent.imag
    turns = torch.round(angle.detach() / (2 * math.pi))
    return torch.complex(exponent.real, angle - 2 * math.pi * turns).to(torch.complex64)


def parts(exponent, times):
    """Real and imaginary parts of the powers at some times, (.., M, T): in real arithmetic, for the compiler."""
    size, angle = torch.exp(exponent.real.unsqueeze(-1) * times), exponent.imag.unsqueeze(-1) * times
    return size * torch.cos(angle), size * torch.sin(angle)


def factors(exponent, weight, length, block):
    """l = block i + j: weighted powers of block i (D, 2M, I) and powers of j (D, 2M, J), real."""
    (a, b), (x, y) = parts(exponent, torch.arange(0, length, block)), (weight.real, weight.imag)
    x, y = x.unsqueeze(2), y.unsqueeze(2)
    far = torch.cat([a * x - b * y, -(a * y + b * x)], 1)
    return far, torch.cat(parts(exponent, torch.arange(block)), 1)


def blocked(exponent, weight, length, block=32):
    """One small product a channel. -> (D, L)"""
    far, near = factors(exponent, weight, length, block)
    return torch.bmm(far.transpose(1, 2), near).flatten(1)[:, :length]


def shared(exponent, weight, length, block=32):
    """Of modes that all channels share, exponent (M): powers as products of two, then one product for all
    channels. -> (D, L)"""
    (a, b), (x, y) = parts(exponent, torch.arange(0, length, block)), parts(exponent, torch.arange(block))
    a, b, x, y = a.unsqueeze(2), b.unsqueeze(2), x.unsqueeze(1), y.unsqueeze(1)
    table = torch.cat([(a * x - b * y).flatten(1), (a * y + b * x).flatten(1)])[:, :length]
    return torch.cat([weight.real, -weight.imag], 1) @ table


def shared_table(exponent, weight, length):
    """The same from every power."""
    return torch.cat([weight.real, -weight.imag], 1) @ torch.cat(parts(exponent, torch.arange(length)))
