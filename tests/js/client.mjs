// What OpenAI's JavaScript client makes of a server: runs each of its ways once, in order, and prints what came as JSON.
// The server's policy is told beforehand what to say, see tests/runtime/test_openai_javascript.py.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none", maxRetries: 0 });
const model = "hone";
const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const found = {};

async function failure(promise) {
  try {
    await promise;
    return null;
  } catch (error) {
    return { kind: error.constructor.name, status: error.status, code: error.code, param: error.param };
  }
}

const messages = (content) => [{ role: "user", content }];

found.models = (await client.models.list()).data.map((card) => card.id);

const chat = await client.chat.completions.create({ model, messages: messages("hello") });
found.chat = { text: chat.choices[0].message.content, decision: chat.hone.decision, request: Boolean(chat._request_id) };

const chunks = [];
const options = { stream: true, stream_options: { include_usage: true } };
for await (const chunk of await client.chat.completions.create({ model, messages: messages("hello"), ...options })) {
  chunks.push(chunk);
}
found.stream = {
  ids: new Set(chunks.map((chunk) => chunk.id)).size,
  text: chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join(""),
  last: { choices: chunks.at(-1).choices, counted: chunks.at(-1).usage.total_tokens > 0 },
};

const runner = client.chat.completions.runTools({
  model,
  messages: messages("forecast for Oslo"),
  tools: [
    {
      type: "function",
      function: {
        name: "forecast",
        description: "Forecast.",
        parameters: city,
        parse: JSON.parse,
        function: ({ city }) => `rain in ${city}`,
      },
    },
  ],
});
found.tools = await runner.finalContent();

const calling = client.chat.completions.stream({
  model,
  messages: messages("forecast for Bergen"),
  tools: [{ type: "function", function: { name: "forecast", parameters: city } }],
});
found.streamedCall = (await calling.finalChatCompletion()).choices[0].message.tool_calls[0].function;

found.unknownModel = await failure(client.chat.completions.create({ model: "gpt-9", messages: messages("hi") }));
found.refusedField = await failure(client.chat.completions.create({ model, messages: messages("hi"), n: 2 }));

found.retried = (
  await client.chat.completions.create({ model, messages: messages("hi") }, { maxRetries: 1 })
).choices[0].message.content;
found.notRetried = await failure(
  client.chat.completions.create({ model, messages: messages("weather in Oslo") }, { maxRetries: 2 }),
);

const response = await client.responses.create({ model, input: "hello" });
found.response = { text: response.output_text, status: response.status };
found.next = (
  await client.responses.create({ model, input: "and now?", previous_response_id: response.id })
).output_text;
const events = [];
for await (const event of await client.responses.create({ model, input: "hello", stream: true })) {
  events.push(event);
}
found.responseStream = {
  text: events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta).join(""),
  last: events.at(-1).type,
};
const streamed = client.responses.stream({
  model,
  input: "forecast for Oslo",
  tools: [{ type: "function", name: "forecast", parameters: { ...city, additionalProperties: false }, strict: true }],
});
const call = (await streamed.finalResponse()).output[0];
found.responseCall = { name: call.name, arguments: call.arguments };
found.unknownResponse = await failure(
  client.responses.create({ model, input: "hi", previous_response_id: "resp_none" }),
);

console.log(JSON.stringify(found));
