"""What the compiler does with a small function: the graph as traced, the fused program, the generated source, and its
reasons."""

import braze


@braze.compile
def softmax_of_sum(x, bias):
    scores = x * 0.125 + bias
    return (scores - scores.max(axis=1, keepdims=True)).exp().sum(axis=1)


def section(title, body):
    """A heading, and at most forty lines."""
    lines = str(body).splitlines()
    print(f"\n--- {title} " + "-" * (70 - len(title)))
    print("\n".join(lines[:40]))
    if len(lines) > 40:
        print(f"... and {len(lines) - 40} lines more")


def main():
    softmax_of_sum(braze.randn(64, 256), braze.randn(256))
    section("graph: as traced", softmax_of_sum.ir("graph"))
    section("optimized: after algebraic simplification", softmax_of_sum.ir("optimized"))
    section("fused: kernels, buffers, order", softmax_of_sum.ir("fused"))
    section("source: LLVM IR of the kernels", softmax_of_sum.ir("source"))
    section("explain: kernels, traffic, and why not fused", softmax_of_sum.explain())
    section("history of the compiler", "\n".join(f"{name:12}{ms:8.2f} ms" for name, ms, _ in softmax_of_sum.history()))
    softmax_of_sum(braze.randn(80, 256), braze.randn(256))
    section("another size makes it symbolic", "\n".join(map(str, softmax_of_sum.compilations)))


if __name__ == "__main__":
    main()
