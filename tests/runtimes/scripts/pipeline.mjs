// A pipeline of transformers.js on a directory, without any network. Arguments: node_modules, and JSON of
// {folder, task, texts, options, modelType}; with modelType, the model is taken for one of that type. Prints JSON.
import path from "node:path";
import { pathToFileURL } from "node:url";

const [, , modules, json] = process.argv;
const { folder, task, texts, options, modelType } = JSON.parse(json);
const library = path.join(modules, "@huggingface/transformers/dist/transformers.node.mjs");
const { pipeline, AutoConfig, env } = await import(pathToFileURL(library));
env.allowRemoteModels = false;
env.localModelPath = path.dirname(folder);
const name = path.basename(folder);

if (modelType) {
  options.config = await AutoConfig.from_pretrained(name);
  options.config.model_type = modelType;
}
const run = await pipeline(task, name, options);
const calls = {
  "feature-extraction": async () => (await run(texts, { pooling: "mean", normalize: true })).tolist(),
  "text-classification": async () => await run(texts, { top_k: null }),
  "question-answering": async () => await run(...texts, { top_k: 3 }),
};
console.log(JSON.stringify(await calls[task]()));
