package command

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestHookActions(t *testing.T) {
	tests := []struct {
		command, words, want string
	}{
		{"mkvm", "", "mkvm"},
		{"rpower", "on", "rpower-on rpower"},
		{"rpower", "ON", "rpower-on rpower"},
		{"rpower", "stat", "rpower-stat"},
		{"rsetboot", "", "rsetboot-stat"},
		{"rsetboot", "net,hd", "rsetboot"},
		{"nodeset", "osimage=esxi8", "nodeset-osimage nodeset"},
		{"nodeset", "../../tmp/x", "nodeset"},
		{"snapshot", "ls", "snapshot-ls"},
		{"lsdef", "vm1", ""},
	}
	for _, tt := range tests {
		got := strings.Join(hookActions(tt.command, strings.Fields(tt.words)), " ")
		if got != tt.want {
			t.Errorf("%s %s has the actions %q, want %q", tt.command, tt.words, got, tt.want)
		}
	}
}

func TestTrustedProgram(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "sub", "x.before")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := trustedProgram(file); err != nil {
		t.Fatalf("a program of our own: %v", err)
	}
	for _, tt := range []struct {
		path string
		mode os.FileMode
		want string
	}{
		{file, 0o775, "written by others"}, {file, 0o757, "written by others"}, {file, 0o600, "cannot be executed"},
		{filepath.Dir(file), 0o777, "written by others"}, {dir, 0o770, "written by others"},
	} {
		st, _ := os.Stat(tt.path)
		if err := os.Chmod(tt.path, tt.mode); err != nil {
			t.Fatal(err)
		}
		if err := trustedProgram(file); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("with %s at %o: %v, want %q", tt.path, tt.mode, err, tt.want)
		}
		if err := os.Chmod(tt.path, st.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(file, 12345, 0); err != nil {
			t.Fatal(err)
		}
		if err := trustedProgram(file); err == nil || !strings.Contains(err.Error(), "belongs to another") {
			t.Errorf("of another owner: %v", err)
		}
	}
}

func TestHookOutput(t *testing.T) {
	l := &limited{left: 20}
	l.Write([]byte("one\n\x1b[31mtwo\x07\r\n\n"))
	l.Write([]byte(strings.Repeat("x", 100)))
	if got := l.lines(); !slices.Equal(got, []string{"one", "[31mtwo", "xxxx"}) {
		t.Errorf("lines %q", got)
	}
}
