from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import docx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluator import questions
from evaluator.questions import QuestionSetError
from evaluator.report import Question

Write = Callable[[str | bytes], Path]
WARP = ("什么是warp？", "warp 由 32 个 thread 组成。")
SIMT = ("什么是SIMT？", "一条指令，\n多个 thread。")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(content: str | bytes) -> Path:
        path = tmp_path / "set.bin"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return _write


def _docx(*paragraphs: str) -> bytes:
    document = docx.Document()
    for text in paragraphs:
        document.add_paragraph(text)
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def _pairs(path: Path) -> list[tuple[str, str]]:
    return [(entry.question, entry.reference) for entry in questions.load(path)]


def _lines(*values: object) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def _message(path: Path, needs_reference: bool = True) -> str:
    with pytest.raises(QuestionSetError) as caught:
        questions.load(path, needs_reference=needs_reference)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


# docx


def test_docx_paragraphs_with_continuation_lines(write: Write) -> None:
    path = write(
        _docx(
            "基础题库",
            "问题：什么是warp？",
            "答案：warp 由 32 个 thread 组成。",
            "",
            "问题： 什么是SIMT？",
            "请举例。",
            "答案:一条指令，",
            "    多个 thread：",
            "",
            "A: 一条路径",
            "问题1：不是新问题",
            "",
        )
    )
    assert _pairs(path) == [
        WARP,
        (
            "什么是SIMT？\n请举例。",
            "一条指令，\n    多个 thread：\n\nA: 一条路径\n问题1：不是新问题",
        ),
    ]


def test_docx_with_line_breaks_inside_a_paragraph(write: Write) -> None:
    path = write(_docx("问题：什么是SIMT？\n答案：一条指令，\n多个 thread。", "问题：a\n答案：b"))
    assert _pairs(path) == [SIMT, ("a", "b")]


@pytest.mark.parametrize(
    ("question", "answer"),
    [("问题 1：", "答案 1："), ("Q: ", "A: "), ("q2：", "a2："), ("Question:", "Answer:")],
)
def test_docx_with_other_markers(write: Write, question: str, answer: str) -> None:
    path = write(_docx(f"{question}什么是warp？", f"{answer}warp 由 32 个 thread 组成。"))
    assert _pairs(path) == [WARP]


def test_docx_tables_are_ignored(write: Write) -> None:
    document = docx.Document()
    document.add_paragraph("问题：什么是warp？")
    document.add_paragraph("答案：warp 由 32 个 thread 组成。")
    document.add_table(rows=1, cols=2).cell(0, 0).text = "问题：在表中"
    buffer = io.BytesIO()
    document.save(buffer)
    assert _pairs(write(buffer.getvalue())) == [WARP]


@pytest.mark.parametrize(
    ("paragraphs", "message"),
    [
        (["题库", "答案：b"], "paragraph 1 to the last: none starts with 问题: (or Q:)"),
        ([], "paragraph 1 to the last: none starts with 问题: (or Q:)"),
        (["题库", "答案：b", "问题：a"], "paragraph 2: an answer without a question"),
        (["问题：a", "答案：b", "答案：c"], "paragraph 3: an answer without a question"),
        (["问题：a", "答案：b", "", "问题："], "paragraph 4: the question is empty"),
        (["问题：a", "问题：b", "答案：c"], "paragraph 1: the question has no answer"),
        (["问题：a", "答案：b", "问题：c"], "paragraph 3: the question has no answer"),
    ],
)
def test_docx_errors_name_the_paragraph(write: Write, paragraphs: list[str], message: str) -> None:
    assert message in _message(write(_docx(*paragraphs)))


def test_docx_that_is_cut_short(write: Write) -> None:
    whole = _docx("问题：a", "答案：b")
    assert "not a docx that can be opened" in _message(write(whole[: len(whole) // 2]))


def test_docx_in_a_zip_format_that_python_cannot_read(write: Write) -> None:
    whole = bytearray(_docx("问题：a", "答案：b"))
    entry = whole.index(b"PK\x01\x02")
    whole[entry + 10] = 99  # compression method of the first file
    assert "not a docx that can be opened (That compression method" in _message(write(bytes(whole)))


def test_docx_whose_relations_are_something_else(write: Write) -> None:
    """python-docx answers such a file with an AttributeError."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(_docx("问题：a"))) as whole,
        zipfile.ZipFile(buffer, "w") as bad,
    ):
        for name in whole.namelist():
            content = b"<other/>" if name == "_rels/.rels" else whole.read(name)
            bad.writestr(name, content)
    assert "not a docx that can be opened" in _message(write(buffer.getvalue()))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_damaged_docx_never_ends_in_another_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = bytearray(_docx("问题：a", "答案：b"))
    for _ in range(20):
        damaged[data.draw(st.integers(4, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "set.docx"
    path.write_bytes(damaged)
    try:
        questions.load(path)
    except QuestionSetError as exc:
        assert str(path) in str(exc)


# JSON


@pytest.mark.parametrize(
    "record",
    [
        {"question": "什么是warp？", "answer": "warp 由 32 个 thread 组成。"},
        {"prompt": "什么是warp？", "response": "warp 由 32 个 thread 组成。"},
        {"prompt": "什么是warp？", "completion": "warp 由 32 个 thread 组成。"},
        {"query": "什么是warp？", "response": "warp 由 32 个 thread 组成。", "history": []},
        {"instruction": "什么是warp？", "input": "", "output": "warp 由 32 个 thread 组成。"},
        {"instruction": "什么是warp？", "input": None, "output": "warp 由 32 个 thread 组成。"},
        {"question": "什么是warp？", "reference": "warp 由 32 个 thread 组成。", "input": "x"},
        {"问题": "什么是warp？", "答案": "warp 由 32 个 thread 组成。"},
        {
            "messages": [
                {"role": "system", "content": "You answer."},
                {"role": "user", "content": "你好"},
                {"role": "assistant", "content": "你好！"},
                {"role": "user", "content": "什么是warp？"},
                {"role": "assistant", "content": "warp 由 32 个 thread 组成。"},
                {"role": "user", "content": "谢谢"},
            ]
        },
        {
            "conversations": [
                {"from": "human", "value": "什么是warp？"},
                {"from": "gpt", "value": "warp 由 32 个 thread 组成。"},
            ]
        },
    ],
)
def test_json_shapes(write: Write, record: dict[str, object]) -> None:
    assert _pairs(write(_lines(record))) == [WARP]
    assert _pairs(write(json.dumps([record, record], indent=2))) == [WARP, WARP]


def test_instruction_is_followed_by_its_input(write: Write) -> None:
    record = {"instruction": "翻译", "input": "warp", "output": "线程束"}
    assert _pairs(write(_lines(record))) == [("翻译\nwarp", "线程束")]


def test_json_lines_with_blank_lines_windows_ends_and_a_byte_order_mark(write: Write) -> None:
    record = {"question": SIMT[0], "answer": SIMT[1] + "\u2028。"}
    text = f"\ufeff\r\n{_lines(record).strip()}\r\n\r\n{_lines(record)}"
    assert _pairs(write(text)) == [(SIMT[0], SIMT[1] + "\u2028。")] * 2


def test_empty_reference_is_kept_because_the_evaluator_scores_it_0(write: Write) -> None:
    assert _pairs(write('{"question": "a", "answer": ""}')) == [("a", "")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 3: not JSON on one line: Expecting property name"),
        ("plain text", "line 3: not JSON on one line: Expecting value at column 1"),
        ('["a", "b"]', "line 3: a JSON object is needed here, this is list"),
        ('{"text": "a", "n": 1}', "line 3: has the fields text, n; known are question/answer"),
        ("{}", "line 3: has the fields none; known are"),
        ('{"question": 5, "answer": "b"}', "line 3: question is int, not text"),
        ('{"question": "a", "answer": ["b"]}', "line 3: answer is list, not text"),
        ('{"instruction": "a", "input": 1, "output": "b"}', "line 3: input is int, not text"),
        ('{"question": " ", "answer": "b"}', "line 3: the question is empty"),
        ('{"question": "a"}', "line 3: the question has no answer"),
        ('{"question": "a", "answer": "\\ud800"}', "line 3: holds half a character"),
        ('{"messages": "a"}', "line 3: messages is not a list of objects"),
        ('{"conversations": ["a"]}', "line 3: conversations is not a list of objects"),
        ('{"messages": []}', "line 3: messages holds no turn of a user that is answered"),
        (
            '{"messages": [{"role": "gpt", "content": "b"}, {"role": "user", "content": "a"}]}',
            "line 3: messages holds no turn of a user that is answered",
        ),
        ('{"messages": [{"role": "user"}]}', "line 3: the user's turn is NoneType, not text"),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant"}]}',
            "line 3: the assistant's turn is NoneType, not text",
        ),
    ],
)
def test_json_lines_errors_name_the_line(write: Write, line: str, message: str) -> None:
    good = '{"question": "a", "answer": "b"}'
    assert message in _message(write(f"{good}\n\n{line}\n{good}\n"))


def test_json_array_errors_name_the_line_of_the_item(write: Write) -> None:
    text = '\n[\n  {"question": "a",\n   "answer": "b"}, {"question": "c",\n "answer": "d"}\n,\n'
    assert _message(write(text + '{"question": "e",\n"reply": "f"}]')).startswith(
        "line 7: the question has no answer"
    )
    assert _message(write(text + '{"reply":\n "f"}]')).startswith("line 7: has the fields reply")
    assert _message(write(text + "5]")).startswith("line 7: a JSON object is needed")


def test_json_array_syntax_errors_name_the_line(write: Write) -> None:
    text = '[\n{"question": "a", "answer": "b"},\n{"question": "c" "answer": "d"}\n]'
    assert _message(write(text)).startswith("line 3: not JSON: Expecting ',' delimiter at column")


# CSV


@pytest.mark.parametrize(
    "header", ["question,answer", "Prompt, Response", '"query","output"', "问题,答案"]
)
def test_csv_headers(write: Write, header: str) -> None:
    text = (
        f'{header}\r\n什么是warp？,warp 由 32 个 thread 组成。\r\n\r\n什么是SIMT？,"{SIMT[1]}"\r\n'
    )
    assert _pairs(write(text)) == [WARP, SIMT]


@pytest.mark.parametrize("delimiter", ["\t", ";"])
def test_csv_with_other_delimiters(write: Write, delimiter: str) -> None:
    rows = [("no", "instruction", "input", "output"), ("1", "翻译", "warp", "a,b")]
    text = "\n".join(delimiter.join(row) for row in rows)
    assert _pairs(write(text)) == [("翻译\nwarp", "a,b")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_csv_encodings(write: Write, encoding: str) -> None:
    text = f"id,question,answer\n7,{WARP[0]},{WARP[1]}\n"
    (entry,) = questions.load(write(text.encode(encoding)))
    assert entry == Question(id="7", question=WARP[0], reference=WARP[1])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,b,c", "line 4: 3 fields under a header of 2 (quotes missing?)"),
        ("a", "line 4: the question has no answer"),
        (",b", "line 4: the question is empty"),
        ('a,"b', "line 4: not a CSV row: unexpected end of data"),
        ('a,"b"c', "line 4: not a CSV row: ',' expected after '\"'"),
    ],
)
def test_csv_errors_name_the_line_of_the_row(write: Write, rows: str, message: str) -> None:
    text = f'question,answer\na,"two\nlines"\n{rows}\n'
    assert message in _message(write(text))


def test_csv_with_a_header_that_does_not_end(write: Write) -> None:
    message = _message(write('question,"answer\na,b\n'))
    assert message == "line 1: not a CSV row: unexpected end of data"


def test_csv_with_a_field_beyond_the_limit_of_the_reader(write: Write) -> None:
    text = f"question,answer\n{'a' * 200_000},b\n"
    assert _message(write(text)).startswith("line 2: not a CSV row: field larger than")


# Anything else


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no questions"),
        (b" \n\n", "holds no questions"),
        (b"[]", "holds no questions"),
        (b"question,answer\n", "holds no questions"),
        (b"just a text\nof two lines", "line 1: neither JSON nor a CSV header with one of"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "the whole file: an old Word or Excel file"),
        (b"question,answer\na,\x00b", "line 2: a zero byte: this is no text file"),
        (b"question,answer\na,b\n\xffc,d", "line 3: neither UTF-8 nor GB 18030"),
        (b"PK\x03\x04rubbish", "the whole file: not a docx that can be opened"),
    ],
)
def test_anything_else_is_refused_in_one_line(write: Write, content: bytes, message: str) -> None:
    assert message in _message(write(content))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in _message(tmp_path / "none.jsonl")
    assert "cannot be read: Is a directory" in _message(tmp_path)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text('[]{},:"\\qa\n1 ', max_size=60).map(str.encode))
def test_random_bytes_never_end_in_another_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.bin"
    path.write_bytes(content)
    with pytest.raises(QuestionSetError, match=r"random\.bin: "):
        questions.load(path)


# Identity, choice


def test_ids_are_the_file_s_own_else_numbers(write: Write) -> None:
    def ids(*own: object) -> list[str]:
        records = [{"id": i, "question": f"q{n}", "answer": "a"} for n, i in enumerate(own)]
        return [entry.id for entry in questions.load(write(_lines(*records)))]

    assert ids("x", 7, "07") == ["x", "7", "07"]
    assert ids("x", None) == ["1", "2"]
    assert ids("", "2") == ["1", "2"]
    assert ids("x", "y", "x") == ["1", "2", "3"]


def test_questions_without_answers_are_read_when_none_is_needed(write: Write) -> None:
    records = [{"id": 3, "question": "a"}, {"messages": [{"role": "user", "content": "b"}]}]
    read = questions.load(write(json.dumps(records)), needs_reference=False)
    assert [(entry.question, entry.reference) for entry in read] == [("a", ""), ("b", "")]
    read = questions.load(write(_docx("问题：a", "问题：b", "答案：c")), needs_reference=False)
    assert [(entry.question, entry.reference) for entry in read] == [("a", ""), ("b", "c")]


@pytest.fixture
def hundred(write: Write) -> Path:
    return write(_lines(*({"question": f"q{n}", "answer": "a"} for n in range(1, 101))))


def test_limit_takes_the_first(hundred: Path) -> None:
    assert [entry.id for entry in questions.load(hundred, limit=3)] == ["1", "2", "3"]
    assert len(questions.load(hundred, limit=500)) == 100


def test_sample_is_repeatable_and_in_the_file_s_order(hundred: Path) -> None:
    first = questions.load(hundred, sample=10, seed=1)
    assert first == questions.load(hundred, sample=10, seed=1)
    assert first != questions.load(hundred, sample=10, seed=2)
    numbers = [int(entry.id) for entry in first]
    assert len(set(numbers)) == 10
    assert numbers == sorted(numbers)
    assert [entry.question for entry in first] == [f"q{number}" for number in numbers]


def test_sample_is_drawn_from_the_limit_and_at_most_all_of_it(hundred: Path) -> None:
    assert {int(entry.id) for entry in questions.load(hundred, limit=5, sample=3)} < set(range(6))
    assert len(questions.load(hundred, limit=5, sample=50)) == 5
