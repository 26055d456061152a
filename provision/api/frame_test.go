package api

import (
	"encoding/json"
	"testing"
)

// FuzzFrame: a frame is read as what encoding/json would have written of it.
func FuzzFrame(f *testing.F) {
	f.Add("out", "n1", "Error", "label", "te\"x\\t\n\t\x00\x1f", 1)
	f.Add("raw", "", "", "", "\xff\xc3\xa9 \xe2\x80\xa8 \xc3", 0)
	f.Fuzz(func(t *testing.T, kind, node, level, label, text string, code int) {
		frame := Frame{FrameKind(kind), node, level, label, text, code}
		plain, err := json.Marshal(frame)
		if err != nil {
			t.Fatal(err)
		}
		var want, got, raw Frame
		if err := json.Unmarshal(plain, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(appendFrame(nil, frame), &got); err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
		if err := json.Unmarshal(appendRaw(nil, []byte(text)), &raw); err != nil || raw != (Frame{Kind: FrameRaw, Text: want.Text}) {
			t.Errorf("%+v, %v; want the text %q", raw, err, want.Text)
		}
	})
}
