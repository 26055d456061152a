package vm

import "testing"

func TestParseDiskSize(t *testing.T) {
	tests := []struct {
		in   string
		want int64 // KiB; 0: refused
	}{
		{"4G", 4 << 20},
		{"2", 2 << 20}, // G unless said otherwise
		{"512M", 512 << 10},
		{"100k", 100},
		{"1.5G", 3 << 19},
		{" 8gb ", 8 << 20},
		{"1T", 1 << 30},
		{"62T", 62 << 30},
		{"63T", 0},
		{"0", 0},
		{"-1", 0},
		{"1e3", 0},
		{"0x10", 0},
		{"G", 0},
		{"4GG", 0},
		{"", 0},
		{"4 G B", 0},
		{"NaN", 0},
		{"999999999999999999999999T", 0},
	}
	for _, tt := range tests {
		got, err := ParseDiskSize(tt.in)
		if got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("ParseDiskSize(%q) = %d, %v, want %d", tt.in, got, err, tt.want)
		}
	}
}

func TestParseMemory(t *testing.T) {
	tests := []struct {
		in   string
		want int64 // MiB; 0: refused
	}{
		{"1024", 1024},
		{"2G", 2048},
		{"1023", 1024}, // a multiple of 4
		{"1K", 4},
		{"512M", 512},
		{"64T", 0},
		{"x", 0},
	}
	for _, tt := range tests {
		got, err := ParseMemory(tt.in)
		if got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("ParseMemory(%q) = %d, %v, want %d", tt.in, got, err, tt.want)
		}
	}
}

func TestRoundedMemory(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "x": "", "1024": "", "2G": "", "+512M": "", "-4": "",
		"1023":   "memory 1023 is rounded up to 1024 MB: ESXi takes multiples of 4 MB",
		" +1M ":  "memory 1M is rounded up to 4 MB: ESXi takes multiples of 4 MB",
		"-4097K": "memory 4097K is rounded up to 8 MB: ESXi takes multiples of 4 MB",
	} {
		if got := RoundedMemory(in); got != want {
			t.Errorf("RoundedMemory(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestAmounts(t *testing.T) {
	tests := []struct {
		parse func(string) (Amount, error)
		in    string
		now   int64
		want  int64
		bad   bool
	}{
		{ParseCount, "2", 1, 2, false},
		{ParseCount, "+2", 1, 3, false},
		{ParseCount, "-1", 4, 3, false},
		{ParseCount, "0", 1, 0, true},
		{ParseMemoryAmount, "+512", 1024, 1536, false},
		{ParseMemoryAmount, "-1G", 2048, 1024, false},
		{ParseDiskAmount, "+2", 4 << 20, 6 << 20, false},
		{ParseDiskAmount, "8G", 4 << 20, 8 << 20, false},
		{ParseDiskAmount, "-2", 4 << 20, 0, true},
	}
	for _, tt := range tests {
		a, err := tt.parse(tt.in)
		if (err != nil) != tt.bad {
			t.Errorf("%q: error %v", tt.in, err)
			continue
		}
		if got := a.Of(tt.now); err == nil && got != tt.want {
			t.Errorf("%q of %d = %d, want %d", tt.in, tt.now, got, tt.want)
		}
	}
}

func FuzzParseDiskSize(f *testing.F) {
	for _, s := range []string{"4G", "1.5T", "..", "1" + string(rune(0)), "9223372036854775807K"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		kb, err := ParseDiskSize(s)
		if err == nil && (kb < 1 || kb > MaxDiskKB) {
			t.Errorf("ParseDiskSize(%q) = %d", s, kb)
		}
	})
}
