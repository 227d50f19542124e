"""The pairs of one cloud's Vietoris–Rips filtration, by cohomology along the edges; `persistence.py` is the front.

All of it lies in one file: numba's cache notices an edit of a file, not one of the functions that it calls elsewhere.

Edges are ordered by length (ties by their points); the *rank* of a simplex is that of its longest edge. Adding edge uv
adds the join of uv with its lune L: the flag complex of the points nearer to both u and v than they are to each other.
The homology changes by H(L) two dimensions up and by nothing else, so
    L empty         two components meet (H0 dies), or a class of H1 is born;
    L of c parts    each part but one ends a class of H1 or begins one of H2;
    cycles of L     each may end a class of H2.
An edge whose lune is contractible (most are) changes nothing: the apparent pairs of Ripser are never looked at.
Which class ends is decided by cohomology: every edge (triangle) carries one bit for each living cocycle, its value
there, found from an earlier coface; where two cofaces disagree the youngest disagreeing cocycle ends and is added to
the others. At the enclosing radius the complex is a cone and all is over. Sets of points are two 64-bit words, hence
at most 128 points a cloud. Sources: Bauer, "Ripser: efficient computation of Vietoris–Rips persistence barcodes"
(2021); de Silva, Morozov & Vejdemo-Johansson, "Persistent cohomology and circular coordinates" (2011).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from feature_assets.kernels.bits import lowest, members

MOST_POINTS: Final = 128
_ONE = np.uint64(1)
_NONE = np.uint64(0)


@njit(cache=True)
def diagrams(
    points: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    largest: int,
    max_dimension: int,
    pairs: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Fill `pairs` and `counts` of `persistence.rips_diagrams`, one cloud after the other in the same working memory,
    which grows in the rare case that a cloud needs more."""
    edges = max(largest * (largest - 1) // 2, 1)
    triangles = max(largest * (largest - 1) * (largest - 2) // 6, 1) if max_dimension == 2 else 1
    words, most = 2, 4 * edges
    births, deaths, dims = np.empty(most, np.float32), np.empty(most, np.float32), np.empty(most, np.int64)
    keys, spare = np.empty(edges, np.uint64), np.empty(edges, np.uint64)
    squared, rank = np.empty(edges, np.float32), np.empty((largest, largest), np.int32)
    lunes, offset = np.empty((edges, 2), np.uint64), np.empty(edges + 1, np.int64)
    on_edge = np.empty((words, edges), np.uint64)
    on_triangle = np.empty((words, triangles), np.uint64)
    for c in range(first.size):
        n = last[c] - first[c]
        if n < 2:
            continue
        cloud = points[first[c] : last[c]]
        m = _sorted_edges(cloud, keys, spare, squared)
        while True:
            found = _cohomology(
                n, m, keys, squared, rank, lunes, offset, on_edge, on_triangle, max_dimension, births, deaths, dims
            )
            if found >= 0:
                break
            words, most = 2 * words, 2 * most
            births, deaths, dims = np.empty(most, np.float32), np.empty(most, np.float32), np.empty(most, np.int64)
            on_edge = np.empty((words, edges), np.uint64)
            on_triangle = np.empty((words, triangles), np.uint64)
        keep(births, deaths, dims, found, pairs[c], counts[c])


@njit(cache=True)
def _sorted_edges(cloud: np.ndarray, keys: np.ndarray, spare: np.ndarray, squared: np.ndarray) -> int:
    """Edges no longer than the enclosing radius, in `keys` by (squared length, points): bits · 2^14 + u · 2^7 + v.

    Returns their number m, and in `squared` [m] their squared lengths in order. Radix sort in three passes: stable. The
    bits of a float32 ≥ 0 are ordered as it is; those of the shortest length are taken off.
    """
    n, width = cloud.shape
    coordinates = np.empty((width, n))
    for i in range(n):
        for k in range(width):
            coordinates[k, i] = cloud[i, k]
    farthest, row, at = np.zeros(n, np.float32), np.empty(n), 0
    for i in range(n):
        others = n - i - 1
        for j in range(others):
            row[j] = 0.0
        for k in range(width):
            here, column = coordinates[k, i], coordinates[k, i + 1 :]
            for j in range(others):
                difference = here - column[j]
                row[j] += difference * difference
        lengths, far, most = squared[at : at + others], farthest[i + 1 :], farthest[i]
        for j in range(others):
            lengths[j] = np.float32(row[j])
        for j in range(others):
            far[j] = max(lengths[j], far[j])
        for j in range(others):
            most = max(lengths[j], most)
        farthest[i] = most
        at += others
    radius, bits = farthest.min(), squared.view(np.uint32)
    base = np.uint64(bits[:at].min())
    m, at, highest = 0, 0, np.uint64(0)
    for i in range(n):
        for j in range(i + 1, n):
            if squared[at] <= radius:
                b = np.uint64(bits[at]) - base
                highest |= b
                keys[m] = (b << np.uint64(14)) | np.uint64((i << 7) | j)
                m += 1
            at += 1
    significant = 0
    while highest >> np.uint64(significant):
        significant += 1
    digits = max((significant + 2) // 3, 1)
    mask = np.uint64((1 << digits) - 1)
    histogram = np.zeros((3, 1 << digits), np.int32)
    shift0, shift1, shift2 = np.uint64(14), np.uint64(14 + digits), np.uint64(14 + 2 * digits)
    for e in range(m):
        histogram[0, (keys[e] >> shift0) & mask] += 1
        histogram[1, (keys[e] >> shift1) & mask] += 1
        histogram[2, (keys[e] >> shift2) & mask] += 1
    source, target = keys, spare
    for p in range(3):
        counts, position = histogram[p], 0
        for k in range(counts.size):
            count = counts[k]
            counts[k] = position
            position += count
        shift = np.uint64(14 + digits * p)
        for e in range(m):
            digit = (source[e] >> shift) & mask
            target[counts[digit]] = source[e]
            counts[digit] += 1
        source, target = target, source
    for e in range(m):  # three passes end in the spare array
        keys[e] = spare[e]
        bits[e] = np.uint32((spare[e] >> np.uint64(14)) + base)
    return m


@njit(cache=True)
def _cohomology(
    n: int,
    m: int,
    keys: np.ndarray,
    squared: np.ndarray,
    rank: np.ndarray,
    lunes: np.ndarray,
    offset: np.ndarray,
    on_edge: np.ndarray,
    on_triangle: np.ndarray,
    max_dimension: int,
    births: np.ndarray,
    deaths: np.ndarray,
    dims: np.ndarray,
) -> int:
    """Pairs of one cloud of n points and m ordered edges, into births, deaths, dims; their number, −1 for want of room.

    `on_edge[:, r]` and `on_triangle[:, t]` are the values of the living cocycles of dimension 1 and 2, a bit each;
    `lunes[r]` the lune of edge r, `offset[r]` its first triangle (the lune's points in order).
    """
    capacity, most = on_edge.shape[0], births.size
    a0, a1 = np.zeros(n, np.uint64), np.zeros(n, np.uint64)  # neighbours of each point
    degree, parent = np.zeros(n, np.int64), np.arange(n)
    used1, used2 = np.zeros(capacity, np.uint64), np.zeros(capacity, np.uint64)
    number1, number2 = np.empty(64 * capacity, np.int64), np.empty(64 * capacity, np.int64)  # order of birth
    since2, edge2 = np.empty(64 * capacity, np.int64), np.empty(64 * capacity, np.int64)  # first triangle, edge
    difference = np.empty(capacity, np.uint64)
    words1, words2, living1, living2, born2, found = 1, 1, 0, 0, 0, 0
    offset[0] = 0
    for r in range(m):
        if found + living1 + living2 >= most:  # the classes that this edge might end
            return -1
        code = np.int64(keys[r] & np.uint64(16383))
        u, v = int(code >> 7), int(code & 127)
        l0, l1 = a0[u] & a0[v], a1[u] & a1[v]
        rank[u, v] = r
        rank[v, u] = r
        for k in range(words1):
            on_edge[k, r] = _NONE
        if max_dimension == 2:
            lunes[r, 0], lunes[r, 1] = l0, l1
            offset[r + 1] = offset[r] + members(l0) + members(l1)
            for k in range(words2):
                for t in range(offset[r], offset[r + 1]):
                    on_triangle[k, t] = _NONE
        if (l0 | l1) == _NONE:
            x, y = u, v
            while parent[x] != x:
                x = parent[x]
            while parent[y] != y:
                y = parent[y]
            if x != y:
                parent[max(x, y)] = min(x, y)
                parent[u] = min(x, y)
                parent[v] = min(x, y)
                if squared[r] > 0:
                    births[found], deaths[found], dims[found] = 0.0, np.sqrt(squared[r]), 0
                    found += 1
            else:
                if living1 == 64 * words1:
                    if words1 == capacity:
                        return -1
                    on_edge[words1, : r + 1] = _NONE
                    words1 += 1
                slot = _claim(used1, words1)
                number1[slot] = r
                on_edge[slot // 64, r] = _ONE << np.uint64(slot % 64)
                living1 += 1
        elif living1 > 0 or max_dimension == 2:
            start = _first(l0, l1)
            if living1 > 0:
                for k in range(words1):
                    on_edge[k, r] = on_edge[k, rank[u, start]] ^ on_edge[k, rank[v, start]]
            rest0, rest1, first_part = l0, l1, True
            while True:
                part0, part1 = _spread(start, rest0, rest1, a0, a1)
                begun = -1
                if not first_part:
                    ended = -1
                    if living1 > 0:
                        ru, rv = rank[u, start], rank[v, start]
                        for k in range(words1):
                            difference[k] = on_edge[k, ru] ^ on_edge[k, rv] ^ on_edge[k, r]
                        ended = _end_youngest(difference, words1, used1, number1, number1, on_edge, r + 1)
                    if ended >= 0:
                        living1 -= 1
                        if squared[number1[ended]] < squared[r]:
                            births[found], deaths[found] = np.sqrt(squared[number1[ended]]), np.sqrt(squared[r])
                            dims[found] = 1
                            found += 1
                    elif max_dimension == 2:
                        if living2 == 64 * words2:
                            if words2 == capacity:
                                return -1
                            on_triangle[words2, : offset[r + 1]] = _NONE
                            words2 += 1
                        begun = _claim(used2, words2)
                        number2[begun], since2[begun], edge2[begun] = born2, offset[r], r
                        born2 += 1
                        living2 += 1
                if living2 > 0:
                    found, living2 = _fill(
                        u, v, r, part0, part1, begun, a0, a1, rank, lunes, offset, on_triangle, words2, living2,
                        used2, number2, since2, edge2, squared, difference, births, deaths, dims, found,
                    )  # fmt: skip
                rest0 &= ~part0
                rest1 &= ~part1
                if (rest0 | rest1) == _NONE:
                    break
                start, first_part = _first(rest0, rest1), False
        if u < 64:
            a0[v] |= _ONE << np.uint64(u)
        else:
            a1[v] |= _ONE << np.uint64(u - 64)
        if v < 64:
            a0[u] |= _ONE << np.uint64(v)
        else:
            a1[u] |= _ONE << np.uint64(v - 64)
        degree[u] += 1
        degree[v] += 1
        if degree[u] == n - 1 or degree[v] == n - 1:
            break  # a cone: every class has ended
    return found


@njit(cache=True)
def _fill(
    u: int,
    v: int,
    r: int,
    part0: np.uint64,
    part1: np.uint64,
    begun: int,
    a0: np.ndarray,
    a1: np.ndarray,
    rank: np.ndarray,
    lunes: np.ndarray,
    offset: np.ndarray,
    on_triangle: np.ndarray,
    words: int,
    living: int,
    used: np.ndarray,
    number: np.ndarray,
    since: np.ndarray,
    edge: np.ndarray,
    squared: np.ndarray,
    difference: np.ndarray,
    births: np.ndarray,
    deaths: np.ndarray,
    dims: np.ndarray,
    found: int,
) -> tuple[int, int]:
    """Values of the 2-cocycles on the triangles uvw with w in one part of the lune of edge r = uv.

    The points of the part are taken so that each new w has a neighbour p among those done; the tetrahedron uvpw gives
    the value of uvw. Neighbours connected among themselves agree; each further part of them may end a class.
    """
    root, best = -1, -1
    rest0, rest1 = part0, part1
    while (rest0 | rest1) != _NONE:
        w = _first(rest0, rest1)
        if w < 64:
            rest0 &= rest0 - _ONE
        else:
            rest1 &= rest1 - _ONE
        neighbours = members(a0[w] & part0) + members(a1[w] & part1)
        if neighbours > best:
            root, best = w, neighbours
    if begun >= 0:
        on_triangle[begun // 64, _place(r, root, lunes, offset)] |= _ONE << np.uint64(begun % 64)
    if root < 64:
        done0, done1 = _ONE << np.uint64(root), _NONE
    else:
        done0, done1 = _NONE, _ONE << np.uint64(root - 64)
    star0, star1 = a0[root] | done0, a1[root] | done1
    reach0, reach1 = a0[root] & part0, a1[root] & part1
    while ((reach0 & ~done0) | (reach1 & ~done1)) != _NONE:
        w = _first(reach0 & ~done0, reach1 & ~done1)
        e0, e1 = a0[w] & done0, a1[w] & done1
        p = root if _has(e0, e1, root) else _first(e0, e1)
        t = _place(r, w, lunes, offset)
        beside = _place(r, p, lunes, offset)
        on_u, on_v = _triangle(u, p, w, rank, lunes, offset), _triangle(v, p, w, rank, lunes, offset)
        for k in range(words):
            on_triangle[k, t] = on_triangle[k, beside] ^ on_triangle[k, on_u] ^ on_triangle[k, on_v]
        if living > 0 and (p != root or ((e0 & ~star0) | (e1 & ~star1)) != _NONE):
            q0, q1 = _spread(p, e0, e1, a0, a1)
            e0 &= ~q0
            e1 &= ~q1
            while (e0 | e1) != _NONE:
                x = _first(e0, e1)
                beside = _place(r, x, lunes, offset)
                on_u, on_v = _triangle(u, x, w, rank, lunes, offset), _triangle(v, x, w, rank, lunes, offset)
                for k in range(words):
                    difference[k] = (
                        on_triangle[k, t] ^ on_triangle[k, beside] ^ on_triangle[k, on_u] ^ on_triangle[k, on_v]
                    )
                ended = _end_youngest(difference, words, used, number, since, on_triangle, offset[r + 1])
                if ended >= 0:
                    living -= 1
                    if squared[edge[ended]] < squared[r]:
                        births[found], deaths[found] = np.sqrt(squared[edge[ended]]), np.sqrt(squared[r])
                        dims[found] = 2
                        found += 1
                q0, q1 = _spread(x, e0, e1, a0, a1)
                e0 &= ~q0
                e1 &= ~q1
        if w < 64:
            done0 |= _ONE << np.uint64(w)
        else:
            done1 |= _ONE << np.uint64(w - 64)
        reach0 |= a0[w] & part0
        reach1 |= a1[w] & part1
    return found, living


@njit(cache=True)
def _spread(start: int, within0: np.uint64, within1: np.uint64, a0: np.ndarray, a1: np.ndarray) -> tuple:
    """Members of the set `within` that `start` is connected to by edges inside of it, itself included."""
    if start < 64:
        part0, part1 = _ONE << np.uint64(start), _NONE
    else:
        part0, part1 = _NONE, _ONE << np.uint64(start - 64)
    new0, new1 = part0, part1
    while True:
        reached0, reached1 = part0, part1
        while new0:
            w = lowest(new0)
            new0 &= new0 - _ONE
            reached0 |= a0[w] & within0
            reached1 |= a1[w] & within1
        while new1:
            w = lowest(new1) + 64
            new1 &= new1 - _ONE
            reached0 |= a0[w] & within0
            reached1 |= a1[w] & within1
        new0, new1 = reached0 & ~part0, reached1 & ~part1
        part0, part1 = reached0, reached1
        if (new0 | new1) == _NONE or (part0 == within0 and part1 == within1):
            return part0, part1


@njit(cache=True)
def _first(set0: np.uint64, set1: np.uint64) -> int:
    """The lowest member of a set that is not empty."""
    return lowest(set0) if set0 else lowest(set1) + 64


@njit(cache=True)
def _has(word0: np.uint64, word1: np.uint64, w: int) -> bool:
    if w < 64:
        return (word0 >> np.uint64(w)) & _ONE != _NONE
    return (word1 >> np.uint64(w - 64)) & _ONE != _NONE


@njit(cache=True)
def _place(r: int, w: int, lunes: np.ndarray, offset: np.ndarray) -> int:
    """Number of the triangle of edge r, its longest, and point w: those of an edge lie together, in the order of w."""
    if w < 64:
        return offset[r] + members(lunes[r, 0] & ((_ONE << np.uint64(w)) - _ONE))
    return offset[r] + members(lunes[r, 0]) + members(lunes[r, 1] & ((_ONE << np.uint64(w - 64)) - _ONE))


@njit(cache=True)
def _triangle(a: int, b: int, c: int, rank: np.ndarray, lunes: np.ndarray, offset: np.ndarray) -> int:
    """Number of the triangle abc."""
    ab, ac, bc = rank[a, b], rank[a, c], rank[b, c]
    longest, opposite = ab, c
    if ac > longest:
        longest, opposite = ac, b
    if bc > longest:
        longest, opposite = bc, a
    return _place(longest, opposite, lunes, offset)


@njit(cache=True)
def _claim(used: np.ndarray, words: int) -> int:
    """A bit that no living cocycle has; −1 where all are taken."""
    for k in range(words):
        if ~used[k] != _NONE:
            slot = lowest(~used[k])
            used[k] |= _ONE << np.uint64(slot)
            return 64 * k + slot
    return -1


@njit(cache=True)
def _end_youngest(
    difference: np.ndarray,
    words: int,
    used: np.ndarray,
    number: np.ndarray,
    since: np.ndarray,
    values: np.ndarray,
    end: int,
) -> int:
    """End the youngest cocycle of `difference` and add it to the others there; returns its bit, −1 if there is none.

    `values[:, :end]` are the cocycles' values; one is 0 before it began (`since`).
    """
    youngest = -1
    for k in range(words):
        rest = difference[k]
        while rest:
            slot = 64 * k + lowest(rest)
            rest &= rest - _ONE
            if youngest < 0 or number[slot] > number[youngest]:
                youngest = slot
    if youngest < 0:
        return -1
    word, shift = youngest // 64, np.uint64(youngest % 64)
    used[word] &= ~(_ONE << shift)
    begin = since[youngest]
    if words == 1:
        row, change = values[0], difference[0]
        for e in range(begin, end):
            row[e] ^= change & (_NONE - ((row[e] >> shift) & _ONE))
        return youngest
    for e in range(begin, end):
        if (values[word, e] >> shift) & _ONE:
            for k in range(words):
                values[k, e] ^= difference[k]
    return youngest


@njit(cache=True)
def keep(
    births: np.ndarray, deaths: np.ndarray, dims: np.ndarray, found: int, pairs: np.ndarray, counts: np.ndarray
) -> None:
    """Order the pairs found by (dimension, persistence from the largest, birth) and keep as many as there is room."""
    length = deaths[:found] - births[:found]
    order = np.empty(found, np.int64)
    placed = 0
    for d in range(counts.size):
        begin = placed
        for i in range(found - 1, -1, -1):  # H0 was found from the shortest on
            if dims[i] != d:
                continue
            at = placed
            while at > begin:
                j = order[at - 1]
                if length[j] > length[i] or (length[j] == length[i] and births[j] <= births[i]):
                    break
                order[at] = j
                at -= 1
            order[at] = i
            placed += 1
        counts[d] = placed - begin
    room, kept = pairs.shape[0], counts.copy()
    for _ in range(placed - min(placed, room)):
        worst, shortest, tail = -1, np.float32(np.inf), 0
        for d in range(counts.size):
            tail += counts[d]
            if kept[d] > 0:
                last = length[order[tail - counts[d] + kept[d] - 1]]
                if last <= shortest:
                    worst, shortest = d, last
        kept[worst] -= 1
    at, begin = 0, 0
    for d in range(counts.size):
        for i in range(kept[d]):
            j = order[begin + i]
            pairs[at, 0], pairs[at, 1], pairs[at, 2] = births[j], deaths[j], d
            at += 1
        begin += counts[d]
        counts[d] = kept[d]
