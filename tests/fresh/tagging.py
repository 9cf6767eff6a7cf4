"""Run where factcli is not: a tagger loads through its Auto class and tags words, and running text by its pipeline.

Arguments: an export, and a file of sentences: {"tokens": [...], "ner_tags": [...]} a line. Prints JSON: the tags of the
words, the words that the pipeline finds in the first sentence, and the class.
"""

import importlib.util
import json
import sys
from pathlib import Path

import torch
import transformers as t

assert importlib.util.find_spec("factcli") is None
torch.set_num_threads(1)
t.logging.set_verbosity_error()
export, file = sys.argv[1:]
rows = [json.loads(line)["tokens"] for line in Path(file).read_text(encoding="utf-8").splitlines()]
tokenizer = t.AutoTokenizer.from_pretrained(export, trust_remote_code=True)
model = t.AutoModelForTokenClassification.from_pretrained(export, trust_remote_code=True).eval()
tags = []
for words in rows:
    batch = tokenizer(words, is_split_into_words=True, return_tensors="pt")
    with torch.inference_mode():
        best = model(**batch).logits[0].argmax(-1).tolist()
    found: dict[int, str] = {}
    for word, i in zip(batch.word_ids(0), best, strict=True):
        if word is not None:
            found.setdefault(word, model.config.id2label[i])
    tags.append([found[i] for i in range(len(words))])
pipe = t.pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="first")
answers = [[a["entity_group"], a["start"], a["end"]] for a in pipe(" ".join(rows[0]))]
print(json.dumps({"tags": tags, "pipeline": answers, "class": type(model).__name__}))
