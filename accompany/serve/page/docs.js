// The API's own description, /api/openapi.json, as a page.

const element = (tag, className, text) => Object.assign(document.createElement(tag), { className, textContent: text });
const dark = localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
document.documentElement.dataset.theme = dark;

const told = await (await fetch("/api/openapi.json")).json();
const resolve = (schema) => (schema?.$ref ? told.components.schemas[schema.$ref.split("/").at(-1)] : schema);
const typeOf = (schema) =>
  schema.enum?.join(" | ") ?? schema.anyOf?.map(typeOf).filter((each) => each !== "null").join(" | ") ?? schema.type ?? "";

function rows(entry) {
  const fields = (entry.parameters ?? []).map((each) => [each.name, each.in, typeOf(each.schema), each.description]);
  const body = entry.requestBody?.content?.["application/json"];
  const properties = body ? Object.entries(resolve(body.schema).properties) : [];
  for (const [name, schema] of properties) fields.push([name, "JSON", typeOf(schema), schema.description]);
  if (entry.requestBody && !body) fields.push(["", "body", "bytes", entry.requestBody.description]);
  return fields;
}

document.getElementById("about").textContent = told.info.description;
document.getElementById("example").textContent = [
  `curl -c jar -b jar --data-binary @vocals.wav "${location.origin}/api/vocals?name=vocals.wav"`,
  `curl -c jar -b jar --json '{"prompt": "solo piano"}' ${location.origin}/api/vocals/VOCAL/takes`,
  `curl -c jar -b jar ${location.origin}/api/jobs/JOB`,
  `curl -c jar -b jar -o mix.wav ${location.origin}/api/takes/TAKE/mix`,
].join("\n");
for (const [path, verbs] of Object.entries(told.paths))
  for (const [verb, entry] of Object.entries(verbs)) {
    const article = element("article", "", "");
    const title = element("h3", "", "");
    title.append(element("span", "verb", verb.toUpperCase()), ` ${path}`);
    article.append(title, element("p", "", entry.description ?? ""));
    const table = element("table", "", "");
    for (const fields of rows(entry)) {
      const row = table.insertRow();
      fields.forEach((field) => (row.insertCell().textContent = field ?? ""));
    }
    article.append(table);
    document.getElementById("routes").append(article);
  }
