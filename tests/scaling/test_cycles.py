"""Estimates of cycles on a program whose sum a head can follow."""

from sora_jax.scaling.cycles import Operation, operations


def line(text, cycles):
    return f'  {text}, backend_config={{"window_config":{{"estimated_cycles":"{cycles}"}}}}'


REST = '}}"}'
"""The last line of an operation that goes on over several."""
PROGRAM = f"""HloModule m

%fused_computation.1 (p: f32[8]) -> f32[8] {{
  %add.1 = f32[8] add(%p, %p)
}}

%condition (s: (s32[], f32[8])) -> pred[] {{
  %constant.1 = s32[] constant(4)
  %lt = pred[] compare(%i, %constant.1), direction=LT
}}

%body (s: (s32[], f32[8])) -> (s32[], f32[8]) {{
{line("%copy.12 = f32[8] copy(%x)", 5)}
  %kernel = f32[8] custom-call(%copy.12)
  %slice.2.clone = f32[8] slice(%kernel), frontend_attributes={{of="{{{{
{line(REST, 11)}
{line("ROOT %add_fusion.3 = f32[8] fusion(%x), kind=kLoop, calls=%fused_computation.1", 7)}
}}

ENTRY %main (p: f32[8]) -> f32[8] {{
{line("%copy.1 = f32[8] copy(%p)", 100)}
  %w = while(%t), condition=%condition, body=%body
}}
"""


def test_loops_count_as_often_as_they_run_and_kernels_not_at_all():
    assert sorted(operations(PROGRAM)) == [
        Operation("add_fusion", 7, 4),
        Operation("copy", 5, 4),
        Operation("copy", 100, 1),
        Operation("slice", 11, 4),
    ]
