"""Text tests: `RUN:` lines with the seqm command, FileCheck, not."""
import os

import lit.formats

config.name = "seqm"
config.test_format = lit.formats.ShTest(True)
config.suffixes = [".sir", ".seqm", ".test"]
config.test_exec_root = os.environ["SEQM_TEST_OUT"]
config.excludes = ["Inputs", "data", "ops", "unit", "lit", "fuzz", "bench", "models"]
for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "HOME", "SEQM_EXPECT"):
    if name in os.environ:
        config.environment[name] = os.environ[name]
config.environment["XDG_CACHE_HOME"] = os.path.join(config.test_exec_root, "cache")
tools = os.environ["SEQM_LLVM_BIN"]
config.environment["PATH"] = os.pathsep.join([tools, os.environ["PATH"]])
config.substitutions.append(("%seqm", os.environ["SEQM_COMMAND"]))
config.substitutions.append(("%source", os.environ["SEQM_SOURCE"]))
# A driver and an NVRTC that are none: %gpu seqm run ... --target cuda.
fake = os.path.join(os.path.dirname(os.environ["SEQM_COMMAND"]), "tests", "libfake_gpu.so")
config.substitutions.append(("%gpu", "env SEQM_CUDA_DRIVER={0} SEQM_NVRTC={0}".format(fake)))
# What a command says, whole, and its status: see lang/message.sh.
config.substitutions.append(("%message", "sh {0}/tests/lang/message.sh %s %t.d {1}".format(
    os.environ["SEQM_SOURCE"], os.environ["SEQM_COMMAND"])))
