"""What seqm is timed beside on a CUDA device: PyTorch, and kernels of other packages where they are installed.

A peer takes what a row computes (`work`: a kind, then its sizes) and gives a call without arguments, on inputs of its
own. One that is not installed, or does not take such a row, is named once and left out.

    matmul     M, N, K, type                 torch
    attention  H, N, D, causal, type         torch's flash and cuDNN kernels, torch.compile, flash_attn_interface
                                             (FlashAttention-3), a file of Triton's tutorial (--triton)
    lightning  H, N, D                       flash-linear-attention: a decay a head
    selective  B, N, D, S                    mamba_ssm
"""
import importlib.util
import statistics
import time


class Peers:
    def __init__(self, triton=None):
        import torch
        if not torch.cuda.is_available():
            raise OSError("torch sees no device")
        torch.backends.cuda.matmul.allow_tf32 = False
        self.torch, self.triton, self.missing = torch, triton, set()

    def random(self, *shape, dtype="float32"):
        return self.torch.randn(*shape, device="cuda").to(getattr(self.torch, dtype))

    # ---- by kind: name -> what makes the call
    def matmul(self, m, n, k, dtype):
        def torch():
            a, b = self.random(m, k, dtype=dtype), self.random(n, k, dtype=dtype)
            return lambda: self.torch.nn.functional.linear(a, b)
        return {"torch": torch}

    def attention(self, heads, n, d, causal, dtype):
        t = self.torch

        def inputs(order="bhnd"):
            shape = {"b": 1, "h": heads, "n": n, "d": d}
            return [self.random(*(shape[c] for c in order), dtype=dtype) for _ in range(3)]

        def sdpa(backend):
            from torch.nn.attention import SDPBackend, sdpa_kernel
            q, k, v = inputs()

            def call():
                with sdpa_kernel(getattr(SDPBackend, backend)):
                    return t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
            return call

        def compiled():
            q, k, v = inputs()
            seen = t.ones(n, n, dtype=t.bool, device="cuda").tril()

            def eager(q, k, v):
                s = q @ k.transpose(-1, -2) * d ** -0.5
                if causal:
                    s = s.masked_fill(~seen, float("-inf"))
                return t.softmax(s, dim=-1) @ v
            f = t.compile(eager)
            return lambda: f(q, k, v)

        def flash3():
            from flash_attn_interface import flash_attn_func
            q, k, v = inputs("bnhd")
            return lambda: flash_attn_func(q, k, v, causal=causal)

        def tutorial():
            if not self.triton:
                raise ImportError("no --triton FILE")
            spec = importlib.util.spec_from_file_location("triton_tutorial", self.triton)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            q, k, v = inputs()
            return lambda: module.attention(q, k, v, causal, d ** -0.5)

        if dtype == "float32":
            return {"torch": lambda: sdpa("EFFICIENT_ATTENTION"), "torch compiled": compiled}
        return {"torch flash": lambda: sdpa("FLASH_ATTENTION"), "torch cuDNN": lambda: sdpa("CUDNN_ATTENTION"),
                "torch compiled": compiled, "FlashAttention-3": flash3, "Triton": tutorial}

    def lightning(self, heads, n, d):
        def fla():
            from fla.ops.simple_gla import chunk_simple_gla
            q, k, v = (self.random(1, n, heads, d, dtype="bfloat16") for _ in range(3))
            decay = -self.random(heads).abs()
            return lambda: chunk_simple_gla(q=q, k=k, v=v, g_gamma=decay)
        return {"flash-linear-attention": fla}

    def selective(self, batch, n, d, states):
        def mamba():
            from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
            u, dt = self.random(batch, d, n), self.random(batch, d, n).abs()
            a, skip = -self.random(d, states).abs(), self.random(d)
            b, c = self.random(batch, states, n), self.random(batch, states, n)
            return lambda: selective_scan_fn(u, dt, a, b, c, skip)
        return {"mamba_ssm": mamba}

    # ---- timing
    def median(self, f):
        times = []
        for k in range(23):
            self.torch.cuda.synchronize()
            begin = time.perf_counter()
            f()
            self.torch.cuda.synchronize()
            if k >= 3:
                times.append(time.perf_counter() - begin)
        return statistics.median(times)

    def seconds(self, work):
        """name -> median seconds, of those that can."""
        found = {}
        for name, make in getattr(self, work[0])(*work[1:]).items():
            try:
                with self.torch.no_grad():
                    found[name] = self.median(make())
            except Exception as e:  # whatever another package thinks of this device and these sizes
                if name not in self.missing:
                    self.missing.add(name)
                    print(f"without {name}: {str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__}", flush=True)
            self.torch.cuda.empty_cache()
        return found
