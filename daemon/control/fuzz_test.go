package control

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"testing"
)

func FuzzReadStream(f *testing.F) {
	f.Add([]byte(`{"item":{"a":1}}` + "\n" + `{"end":{}}` + "\n"))
	f.Add([]byte(`{"error":{"code":"failed","message":"x"}}`))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		items := 0
		var end map[string]any
		err := readStream(bytes.NewReader(b), func(json.RawMessage) error { items++; return nil }, &end)
		if err == nil && !bytes.Contains(b, []byte(`"`)) {
			t.Fatalf("%q: taken for a whole list", b)
		}
	})
}

func FuzzASCIIJSON(f *testing.F) {
	f.Add("é𝄞\n\"")
	f.Fuzz(func(t *testing.T, s string) {
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err) // any string can be encoded
		}
		var want, got string
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		esc := asciiJSON(raw)
		if err := json.Unmarshal([]byte(esc), &got); err != nil || got != want {
			t.Fatalf("%q -> %s -> %q, %v", s, esc, got, err)
		}
	})
}

func TestTruncatedStreamIsNotAShortList(t *testing.T) {
	rec := httptest.NewRecorder()
	w := newStreamWriter(rec)
	for i := range 3 {
		if err := w.item(i); err != nil {
			t.Fatal(err)
		}
	}
	w.finish(struct{}{}, nil)
	whole := rec.Body.Bytes()
	for n := range whole {
		err := readStream(bytes.NewReader(whole[:n]), func(json.RawMessage) error { return nil }, &struct{}{})
		if err == nil && n < len(whole)-1 {
			t.Fatalf("%d bytes of %d taken for the whole", n, len(whole))
		}
	}
}
