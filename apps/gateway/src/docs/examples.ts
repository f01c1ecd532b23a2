/** One task, in one language; runs as it stands with ONEWRITER_TOKEN in the environment. */
export interface Example {
  readonly language: 'curl' | 'Python' | 'Go' | 'PHP';
  readonly code: string;
}

/**
 * The same task in several languages, with their standard libraries alone: write, read it back, and write under an
 * idempotency key.
 * @param url of the gateway, without a slash at the end
 */
export function examples(url: string): readonly Example[] {
  return [
    {
      language: 'curl',
      code: `call() { curl -sS --fail-with-body -H "Authorization: Bearer $ONEWRITER_TOKEN" -H 'Content-Type: application/json' "$@"; }

call ${url}/v1/tenants/acme/script \\
  -d '{"sql":"CREATE TABLE IF NOT EXISTS tasks(id TEXT PRIMARY KEY, title TEXT NOT NULL)"}'
call ${url}/v1/tenants/acme/query -H 'Idempotency-Key: "task-1"' \\
  -d '{"sql":"INSERT INTO tasks VALUES (?, ?) ON CONFLICT DO NOTHING","params":["t1","one"]}'
call ${url}/v1/tenants/acme/query -d '{"sql":"SELECT * FROM tasks"}'
`,
    },
    {
      language: 'Python',
      code: `import json, os, urllib.error, urllib.request

def call(path, body, **headers):
    request = urllib.request.Request(
        "${url}/v1/tenants/acme/" + path,
        data=json.dumps(body).encode(),
        headers={"Authorization": "Bearer " + os.environ["ONEWRITER_TOKEN"],
                 "Content-Type": "application/json", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=40) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise RuntimeError(json.load(error)["error"]) from None

call("script", {"sql": "CREATE TABLE IF NOT EXISTS tasks(id TEXT PRIMARY KEY, title TEXT NOT NULL)"})
written = call("query", {"sql": "INSERT INTO tasks VALUES (?, ?) ON CONFLICT DO NOTHING", "params": ["t2", "two"]},
               **{"Idempotency-Key": "task-2"})
rows = call("query", {"sql": "SELECT * FROM tasks WHERE id = :id", "params": {"id": "t2"}},
            **{"If-Commit-Seq-At-Least": str(written["commitSeq"])})["rows"]
print(rows[0]["title"])
`,
    },
    {
      language: 'Go',
      code: `package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"
)

var client = http.Client{Timeout: 40 * time.Second}

func call(path, key string, body any) map[string]any {
	encoded, err := json.Marshal(body)
	if err != nil {
		log.Fatal(err)
	}
	request, err := http.NewRequest("POST", "${url}/v1/tenants/acme/"+path, bytes.NewReader(encoded))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("ONEWRITER_TOKEN"))
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := client.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	answer := map[string]any{}
	decoder := json.NewDecoder(response.Body)
	decoder.UseNumber()
	if err := decoder.Decode(&answer); err != nil {
		log.Fatal(err)
	}
	if response.StatusCode >= 300 {
		log.Fatal(answer["error"])
	}
	return answer
}

func main() {
	call("script", "", map[string]any{"sql": "CREATE TABLE IF NOT EXISTS tasks(id TEXT PRIMARY KEY, title TEXT NOT NULL)"})
	call("query", "task-3", map[string]any{
		"sql":    "INSERT INTO tasks VALUES (?, ?) ON CONFLICT DO NOTHING",
		"params": []any{"t3", "three"},
	})
	fmt.Println(call("query", "", map[string]any{"sql": "SELECT * FROM tasks"})["rows"])
}
`,
    },
    {
      language: 'PHP',
      code: `<?php
function call(string $path, array $body, string $key = ''): array {
    $context = stream_context_create(['http' => [
        'method' => 'POST',
        'header' => array_filter([
            'Authorization: Bearer ' . getenv('ONEWRITER_TOKEN'),
            'Content-Type: application/json',
            $key === '' ? '' : 'Idempotency-Key: ' . $key,
        ]),
        'content' => json_encode($body, JSON_THROW_ON_ERROR),
        'ignore_errors' => true,
        'timeout' => 40,
    ]]);
    $text = file_get_contents('${url}/v1/tenants/acme/' . $path, false, $context);
    $answer = json_decode($text, true, flags: JSON_THROW_ON_ERROR | JSON_BIGINT_AS_STRING);
    if (isset($answer['error'])) {
        throw new RuntimeException($answer['error']['code'] . ': ' . $answer['error']['message']);
    }
    return $answer;
}

call('script', ['sql' => 'CREATE TABLE IF NOT EXISTS tasks(id TEXT PRIMARY KEY, title TEXT NOT NULL)']);
call('query', ['sql' => 'INSERT INTO tasks VALUES (?, ?) ON CONFLICT DO NOTHING', 'params' => ['t4', 'four']], 'task-4');
print_r(call('query', ['sql' => 'SELECT * FROM tasks'])['rows']);
`,
    },
  ];
}
