package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"strings"
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
		line := bytes.TrimSuffix(appendFrame(nil, frame), []byte("\n"))
		if got, ok := parseFrame(line); ok && got != want {
			t.Errorf("%s is read as %+v, want %+v", line, got, want)
		}
		if err := json.Unmarshal(appendRaw(nil, []byte(text)), &raw); err != nil || raw != (Frame{Kind: FrameRaw, Text: want.Text}) {
			t.Errorf("%+v, %v; want the text %q", raw, err, want.Text)
		}
	})
}

// FuzzParseFrame: what a client reads of a line is what encoding/json does.
func FuzzParseFrame(f *testing.F) {
	for _, line := range []string{`{"k":"exit"}`, `{"k":"raw","text":"\"a\",\n\\\t"}`, `{"k":"out","node":"n1","label":"b","text":"é","level":"Error"}`, `{"k":"out","text":"\u00e9"}`, `{"k":"a","text":"b","text":"c"}`} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		got, ok := parseFrame(line)
		var want Frame
		if err := json.Unmarshal(line, &want); ok && err != nil || ok && got != want {
			t.Errorf("%s is read as %+v, want %+v (%v)", line, got, want, err)
		}
	})
}

// What a server sends most is read without encoding/json.
func TestFramesAreParsed(t *testing.T) {
	for _, f := range []Frame{{Kind: FrameExit}, {Kind: FrameRaw, Text: "#node,\"groups\"\n\t\\ \u2028é"}, {Kind: FrameErr, Node: "n1", Level: "Error", Label: "l", Text: "t"}} {
		line := appendFrame(nil, f)
		if got, ok := parseFrame(line[:len(line)-1]); !ok || got != f {
			t.Errorf("%s is read as %+v (%t)", line, got, ok)
		}
	}
	long := Frame{Kind: FrameRaw, Text: strings.Repeat("0123456789\n", 10_000)}
	in := bufio.NewReaderSize(bytes.NewReader(append(appendFrame(nil, long), appendFrame(nil, Frame{Kind: FrameExit, Code: 3})...)), 1<<10)
	var memory []byte
	for _, want := range []Frame{long, {Kind: FrameExit, Code: 3}} {
		if got, err := readFrame(in, &memory); err != nil || got != want {
			t.Errorf("a long line: %v, %d bytes of text", err, len(got.Text))
		}
	}
}
