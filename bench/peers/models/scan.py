"""The selective scan in PyTorch: s <- exp(delta A) s + delta u B, y = C s, from s = 0.

u, delta (B, L, E), A (E, N), B and C (B, L, N) -> y (B, L, E). All forms are exact; they differ in what
autograd keeps and in what a compiler can fuse."""

import torch

PIECE = 4  # steps of a compiled piece


def indexed(u, delta, A, B, C):
    """As the reference of state-spaces/mamba: everything (B, E, L, N), the loop indexes the time axis, and
    backward fills a zero tensor of that size for every step."""
    u, delta, B, C = (t.transpose(1, 2) for t in (u, delta, B, C))
    decay = torch.exp(torch.einsum("bel,en->beln", delta, A))
    inflow = torch.einsum("bel,bnl,bel->beln", delta, B, u)
    s, ys = torch.zeros_like(decay[:, :, 0]), []
    for t in range(u.shape[2]):
        s = decay[:, :, t] * s + inflow[:, :, t]
        ys.append(torch.einsum("ben,bn->be", s, C[:, :, t]))
    return torch.stack(ys, dim=1)


def time_first(*tensors):
    return (t.transpose(0, 1).contiguous() for t in tensors)


def expand(u, delta, A, B):
    """Decay and inflow of every step, (L, B, E, N)."""
    return torch.exp(delta.unsqueeze(3) * A), (delta * u).unsqueeze(3) * B.unsqueeze(2)


def read_out(s, C):
    """y = C s, (L, B, E)"""
    return torch.matmul(s, C.unsqueeze(3)).squeeze(3)


def step_loop(u, delta, A, B, C):
    """Time first, and the axis taken apart once: no step touches more than its own slice."""
    u, delta, B, C = time_first(u, delta, B, C)
    decay, inflow = expand(u, delta, A, B)
    s, states = torch.zeros_like(inflow[0]), []
    for a, b in zip(decay.unbind(0), inflow.unbind(0)):
        s = torch.addcmul(b, a, s)
        states.append(s)
    return read_out(torch.stack(states), C).transpose(0, 1)


def log_depth(u, delta, A, B, C, chunk=16):
    """Pairs (decay, inflow) combined over distances 1, 2, 4, .. inside chunks, which a loop joins."""
    u, delta, B, C = time_first(u, delta, B, C)
    decay, inflow = (t.unflatten(0, (-1, chunk)) for t in expand(u, delta, A, B))
    reach = 1
    while reach < chunk:
        inflow = torch.cat(
            [inflow[:, :reach], torch.addcmul(inflow[:, reach:], decay[:, reach:], inflow[:, :-reach])], 1
        )
        decay = torch.cat([decay[:, :reach], decay[:, reach:] * decay[:, :-reach]], 1)
        reach *= 2
    s, starts = torch.zeros_like(inflow[0, 0]), []
    for a, b in zip(decay[:, -1].unbind(0), inflow[:, -1].unbind(0)):
        starts.append(s)
        s = torch.addcmul(b, a, s)
    states = torch.addcmul(inflow, decay, torch.stack(starts).unsqueeze(1))
    return read_out(states.flatten(0, 1), C).transpose(0, 1)


def piece(s, u, delta, A, B, C):
    """A few steps from the state s (B, E, N): their output and the state after them."""
    states = []
    for a, b in zip(*(t.unbind(0) for t in expand(u, delta, A, B))):
        s = torch.addcmul(b, a, s)
        states.append(s)
    return read_out(torch.stack(states), C), s


compiled_piece = torch.compile(piece)


@torch.compile
def piece_backward(inputs, gradients):
    """Gradients of a piece from those of its output and last state; runs the piece again."""
    return torch.func.vjp(piece, *inputs)[1](gradients)


def pieces(u, delta, A, B, C):
    """The step loop, compiled a few steps at a time; autograd between the pieces."""
    s, ys = u.new_zeros(u.shape[0], *A.shape), []
    for du, dd, dB, dC in zip(*(t.split(PIECE) for t in time_first(u, delta, B, C))):
        y, s = compiled_piece(s, du, dd, A, dB, dC)
        ys.append(y)
    return torch.cat(ys).transpose(0, 1)


class Recomputed(torch.autograd.Function):
    """The same pieces, of which only the first state is kept: backward runs each again."""

    @staticmethod
    def forward(context, u, delta, A, B, C):
        s, starts, ys = u.new_zeros(u.shape[1], *A.shape), [], []
        for du, dd, dB, dC in zip(*(t.split(PIECE) for t in (u, delta, B, C))):
            starts.append(s)
            y, s = compiled_piece(s, du, dd, A, dB, dC)
            ys.append(y)
        context.save_for_backward(u, delta, A, B, C, *starts)
        return torch.cat(ys)

    @staticmethod
    def backward(context, gradient):
        u, delta, A, B, C, *starts = context.saved_tensors
        gs, gA, parts = torch.zeros_like(starts[0]), torch.zeros_like(A), []
        slices = zip(starts, *(t.split(PIECE) for t in (u, delta, B, C, gradient.contiguous())))
        for s, du, dd, dB, dC, gy in reversed(list(slices)):
            gs, gu, gd, one, gB, gC = piece_backward((s, du, dd, A, dB, dC), (gy, gs))
            gA += one
            parts.append((gu, gd, gB, gC))
        gu, gd, gB, gC = (torch.cat(each[::-1]) for each in zip(*parts))
        return gu, gd, gA, gB, gC


def recomputed(u, delta, A, B, C):
    u, delta, B, C = time_first(u, delta, B, C)
    return Recomputed.apply(u, delta, A, B, C).transpose(0, 1)


class Recurrence(torch.autograd.Function):
    """h_t = a_t h_{t-1} + b_t along the first axis, from 0; backward is the same loop from the end, and neither
    touches more than one time's slices."""

    @staticmethod
    def forward(context, a, b):
        h = torch.empty_like(b)
        slices = h.unbind(0)
        slices[0].copy_(b[0])
        for before, a_t, b_t, h_t in zip(slices, a.unbind(0)[1:], b.unbind(0)[1:], slices[1:]):
            torch.addcmul(b_t, a_t, before, out=h_t)
        context.save_for_backward(a, h)
        return h

    @staticmethod
    def backward(context, g):
        a, h = context.saved_tensors
        db, a = torch.empty_like(h), a.conj().resolve_conj()
        slices = db.unbind(0)[::-1]
        slices[0].copy_(g[-1])
        for after, a_t, g_t, db_t in zip(slices, a.unbind(0)[:0:-1], g.unbind(0)[-2::-1], slices[1:]):
            torch.addcmul(g_t, a_t, after, out=db_t)
        da = torch.cat([torch.zeros_like(h[:1]), db[1:] * h[:-1].conj()])
        return da.sum_to_size(a.shape), db
