"""vLLM is not installed here: stand-ins do what its sources say, all of TRL's and ours is real."""

import inspect
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from trl.distributed import DistributedBackend
from trl.generation.vllm_client import VLLMClient
from trl.generation.vllm_generation import VLLMGeneration

from safegrpo.errors import ConfigError, ModelError
from safegrpo.microcosm import SHIPPED
from safegrpo.models import load_model, load_processor
from safegrpo.training.config import LoraConfig
from safegrpo.training.model_parts import peft_config
from safegrpo.training.prompts import PreparedPrompt, prepare_prompts
from safegrpo.training.vllm import VLLMRollouts, adapted_weights_kept


def test_trl_still_goes_the_ways_that_are_put_right():
    """When this fails TRL has mended one of them: take what is ours out of training/vllm.py."""
    sync = inspect.getsource(VLLMGeneration.sync_weights)
    walk = inspect.getsource(VLLMGeneration._iter_named_params)
    assert "reset_prefix_cache" in sync and "reset_encoder_cache" not in sync
    assert "merge_adapter()" in walk and "unmerge_adapter()" in walk
    assert list(inspect.signature(VLLMGeneration.sync_weights).parameters) == ["self"]
    given = inspect.signature(VLLMGeneration.generate).parameters
    assert list(given) == ["self", "prompts", "images", "num_generations", "profiler"]
    # Colocated, prompts and images go to the engine side by side.
    assert '{"prompt_token_ids": ids}' in inspect.getsource(VLLMGeneration.generate)
    assert "self.session" in inspect.getsource(VLLMClient.reset_prefix_cache)


@pytest.fixture(scope="module")
def processor():
    return load_processor(SHIPPED)


def conversations(counts):
    """One conversation for each count of images, all of different sizes."""
    found = []
    for count in counts:
        images = [Image.new("RGB", (64 + 32 * k, 64), (9, 9, 9 * k)) for k in range(count)]
        content = [{"type": "image", "image": image} for image in images]
        content.append({"type": "text", "text": f"what are these {count} things ?"})
        found.append([{"role": "user", "content": content}])
    return found


def prepared(processor, asked):
    def tokenize(prompts):
        out = processor.apply_chat_template(
            prompts, add_generation_prompt=True, tokenize=True, return_dict=True
        )
        images = [[p["image"] for p in c[0]["content"] if p["type"] == "image"] for c in prompts]
        fields = {k: v for k, v in out.items() if k not in ("input_ids", "attention_mask")}
        return out["input_ids"], images if any(images) else None, fields

    return prepare_prompts(asked, tokenize, torch.device("cpu"))


class Engine:
    """TRL's VLLMGeneration with an engine that spells images out as vLLM (0.30, 0.31) does: for
    each image it finds one placeholder and puts as many as there are features in its place."""

    def __init__(self, processor, mode="colocate", spell_out=True):
        self.mode, self.said, self._processor = mode, [], processor
        self.spell_out = spell_out
        self.model = torch.nn.Linear(2, 2)
        self.enable_sleep_mode = self._llm_weights_sleeping = False
        engine = SimpleNamespace(reset_encoder_cache=lambda: self.said.append("forget"))
        self.llm = SimpleNamespace(llm_engine=engine)
        self.accelerator = SimpleNamespace(is_main_process=True)
        self.vllm_client = SimpleNamespace(base_url="http://here", session=self)

    def sync_weights(self):
        self.said.append("sync")

    def post(self, url, timeout):
        self.said.append(url)
        return SimpleNamespace(status_code=self.answers)

    answers = 200

    def generate(self, prompts, images, num_generations, profiler=None):
        self.given = prompts
        seen = prompts
        if self.mode == "colocate" and self.spell_out:
            seen = [
                self._spelled(ids, row)
                for ids, row in zip(prompts, images or [None] * len(prompts), strict=True)
            ]
        likeliest = [[[-0.5, -0.7], [-0.1, -3.0]] for _ in prompts]
        return seen, [[11, 12] for _ in prompts], likeliest, None

    def _spelled(self, ids, images):
        token = self._processor.image_token_id
        out, start = [], 0
        for image in images or ():
            at = ids.index(token, start)
            grid = self._processor.image_processor([image], return_tensors="pt")["image_grid_thw"]
            out += [*ids[start:at], *[token] * (int(grid.prod()) // 4)]
            start = at + 1
        return out + ids[start:]


def rollouts(processor, engine, counts=(0, 1, 2)):
    asked = conversations(counts)
    found = VLLMRollouts(engine, processor, {})
    found.read(asked)
    return found, prepared(processor, asked)


def test_a_colocated_engine_reads_the_prompt_that_is_scored(processor):
    engine = Engine(processor)
    found, prompts = rollouts(processor, engine)
    completions, log_probs = found.complete(prompts, 0, 1)
    counts = [ids.count(processor.image_token_id) for ids in engine.given]
    assert counts == [0, 1, 2]
    assert completions == [[11, 12]] * 3
    assert log_probs == [[-0.5, -0.1]] * 3


def test_prompts_as_trl_gives_them_would_be_spelled_out_twice(processor):
    """The control: what the stand-in does to prompts with features spelled out already."""
    engine = Engine(processor)
    _, prompts = rollouts(processor, engine, (1,))
    ids = prompts[0].ids.tolist()
    [seen], *_ = engine.generate([ids], [prompts[0].images], 1)
    assert len(seen) == len(ids) + ids.count(processor.image_token_id) - 1


def test_a_prompt_that_was_read_otherwise_stops_the_run(processor):
    found, prompts = rollouts(processor, Engine(processor, spell_out=False))
    with pytest.raises(ModelError, match="prompt 1 of the batch: vLLM read"):
        found.complete(prompts, 0, 1)


def test_a_server_gets_prompts_spelled_out(processor):
    engine = Engine(processor, "server")
    found, prompts = rollouts(processor, engine)
    found.complete(prompts, 0, 1)
    assert engine.given == [prompt.ids.tolist() for prompt in prompts]


def test_images_are_forgotten_after_new_weights_and_only_then(processor):
    engine = Engine(processor)
    found, prompts = rollouts(processor, engine)
    for step in (0, 0, 1):
        found.complete(prompts, step, 1)
    assert engine.said == ["sync", "forget", "sync", "forget"]


def test_weights_that_sleep_are_sent_anew(processor):
    """TRL would wake and send them itself, and neither keep the base nor forget the images."""
    engine = Engine(processor)
    found, prompts = rollouts(processor, engine)
    found.complete(prompts, 0, 1)
    engine.enable_sleep_mode = engine._llm_weights_sleeping = True
    found.complete(prompts, 0, 1)
    assert engine.said == ["sync", "forget"] * 2


@pytest.mark.parametrize("main", [True, False])
def test_the_main_process_tells_the_server_to_forget(processor, main):
    engine = Engine(processor, "server")
    engine.accelerator.is_main_process = main
    found, _ = rollouts(processor, engine)
    found.sync()
    assert engine.said == ["sync", "http://here/reset_encoder_cache"][: 1 + main]


def test_a_server_that_does_not_forget_stops_the_run(processor):
    engine = Engine(processor, "server")
    engine.answers = 404
    found, _ = rollouts(processor, engine)
    with pytest.raises(ModelError, match="VLLM_SERVER_DEV_MODE=1"):
        found.sync()


def test_a_processor_whose_images_trl_misplaces_is_refused_for_a_server(processor):
    like_gemma = SimpleNamespace(image_token_id=5, image_token_ids=[6])
    with pytest.raises(ConfigError, match="vllm_mode: colocate"):
        VLLMRollouts(Engine(processor, "server"), like_gemma, {})
    VLLMRollouts(Engine(processor), like_gemma, {})


def adapted(dtype):
    """A model with adapters that do something, over weights of `dtype`."""
    from peft import get_peft_model

    model = load_model(SHIPPED, dtype=dtype)
    model = get_peft_model(model, peft_config(model, LoraConfig(r=4, alpha=8)))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.02)
    return model


def synced(model):
    """TRL's own sync into an engine that keeps what it gets: {name: weight}."""
    got = {}
    runner = SimpleNamespace(
        model=SimpleNamespace(load_weights=lambda rows: got.update((n, w.clone()) for n, w in rows))
    )
    executor = SimpleNamespace(driver_worker=SimpleNamespace(model_runner=runner))
    state = SimpleNamespace(deepspeed_plugin=None)
    generation = VLLMGeneration.__new__(VLLMGeneration)
    generation.mode, generation.enable_sleep_mode, generation.model = "colocate", False, model
    generation.accelerator = SimpleNamespace(state=state, is_main_process=True)
    generation._dist = DistributedBackend(generation.accelerator)
    generation.llm = SimpleNamespace(
        llm_engine=SimpleNamespace(model_executor=executor, reset_encoder_cache=lambda: None),
        reset_prefix_cache=lambda: None,
    )
    return generation, got


def base_weights(model):
    return {n: w.detach().clone() for n, w in model.named_parameters() if "lora_" not in n}


@pytest.mark.parametrize("ours", [True, False])
def test_adapters_are_sent_merged_and_leave_the_weights_as_they_were(processor, ours):
    model = adapted("bfloat16")
    before = base_weights(model)
    generation, got = synced(model)
    if ours:
        VLLMRollouts(generation, processor, {}).sync()
    else:
        generation.sync_weights()
    assert set(got) == set(map(_plain, before))
    sent = [n for n in before if not torch.equal(got[_plain(n)], before[n])]
    assert sent and all(".base_layer" in name for name in sent)
    after = base_weights(model)
    changed = [name for name in before if not torch.equal(after[name], before[name])]
    # The control: TRL alone leaves rounding errors behind.
    assert bool(changed) != ours


def _plain(name):
    return name.removeprefix("base_model.model.").replace(".base_layer", "")


def test_weights_of_full_precision_are_not_copied():
    model = adapted("float32")
    layer = next(m for m in model.modules() if hasattr(m, "get_delta_weight")).base_layer
    with adapted_weights_kept(model), torch.no_grad():
        layer.weight.zero_()
    assert not layer.weight.any()


def test_weights_come_back_after_an_error():
    model = adapted("bfloat16")
    layer = next(m for m in model.modules() if hasattr(m, "get_delta_weight")).base_layer
    before = layer.weight.clone()
    with pytest.raises(RuntimeError), adapted_weights_kept(model), torch.no_grad():
        layer.weight.zero_()
        raise RuntimeError("the engine is gone")
    assert torch.equal(layer.weight, before)


def test_prompts_are_those_of_the_trainer(processor):
    """What `read` keeps is what is left of the prepared prompt when each image is one token."""
    asked = conversations((0, 1, 2))
    found = VLLMRollouts(Engine(processor), processor, {})
    found.read(asked)
    for short, prompt in zip(found._short, prepared(processor, asked), strict=True):
        assert isinstance(prompt, PreparedPrompt)
        token, collapsed = processor.image_token_id, []
        for i in prompt.ids.tolist():
            if i != token or collapsed[-1] != token:
                collapsed.append(i)
        assert short == collapsed
