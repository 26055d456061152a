package rom

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// command runs one command of a script.
func (i *ipxe) command(args []string) error {
	if err := i.ctx.Err(); err != nil {
		return stop{err}
	}
	name, args := args[0], args[1:]
	switch name {
	case "echo":
		i.result.Screen = append(i.result.Screen, strings.Join(skipFlags(args), " "))
		return nil
	case "set":
		return i.setting(args)
	case "clear":
		return i.setting(args[:min(1, len(args))])
	case "isset":
		if len(args) == 0 {
			return errors.New("isset: not set")
		}
		return nil
	case "iseq":
		if len(args) != 2 {
			return errors.New("iseq: wants two words; an empty one is none")
		}
		if args[0] != args[1] {
			return fmt.Errorf("iseq: %q is not %q", args[0], args[1])
		}
		return nil
	case "goto":
		if len(args) != 1 {
			return errors.New("goto: wants a label")
		}
		return gotoLabel(args[0])
	case "exit":
		return exitCommand(args)
	case "sleep", "dhcp", "ifopen", "ifclose", "ifconf", "ifstat", "colour", "cpair", "console", "imgstat", "imgtrust", "imgverify", "sync", "route", "nstat":
		return nil // of no consequence here
	case "prompt":
		if slices.Contains(args, "--timeout") || slices.Contains(args, "-t") {
			return errors.New("prompt: nobody pressed a key")
		}
		return stop{errors.New("prompt: waits for a key for ever")}
	case "shell", "config", "login":
		return stop{errors.New(name + ": waits for a person")}
	case "reboot", "poweroff", "autoboot":
		return stop{errors.New("the script says " + name)}
	case "sanboot", "sanhook":
		return i.sanboot(name, args)
	}
	return i.imageCommand(name, args)
}

func exitCommand(args []string) error {
	if len(args) == 0 {
		return exitScript(0)
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return fmt.Errorf("exit %q: no number", args[0])
	}
	return exitScript(n)
}

// setting sets a value; without one it is cleared. A type after the name says
// how the value is written, which only strings need not.
func (i *ipxe) setting(args []string) error {
	if len(args) == 0 {
		return errors.New("set: wants a name")
	}
	name, _, _ := strings.Cut(args[0], ":")
	if len(args) == 1 {
		delete(i.set, name)
		return nil
	}
	i.set[name] = stringSetting(strings.Join(args[1:], " "))
	return nil
}

// sanboot of a local drive is how BIOS goes on to what is installed.
func (i *ipxe) sanboot(name string, args []string) error {
	rest := skipFlags(args, "--drive", "-d", "--filename", "-f")
	if len(rest) > 0 {
		return stop{fmt.Errorf("%s %s: booting from a SAN is not played", name, Redact(rest[0]))}
	}
	if name == "sanhook" {
		return nil
	}
	if i.Firmware.efi() && !slices.Contains(args, "--drive") && !slices.Contains(args, "-d") {
		return errors.New("sanboot: no drive")
	}
	if err := i.localDisk(strings.Join(append([]string{name}, args...), " ")); err != nil {
		return err
	}
	return errDone
}

// imageCommand runs those commands that fetch and start images.
func (i *ipxe) imageCommand(name string, args []string) error {
	err := i.imageCommands(name, args)
	if err != nil && !final(err) {
		err = fmt.Errorf("%s: %w", name, err)
		i.fault = err
	}
	return err
}

func (i *ipxe) imageCommands(name string, args []string) error {
	f, rest := imageFlags(args)
	switch name {
	case "imgfetch", "module", "initrd":
		_, err := i.need(f, rest, true)
		return err
	case "kernel", "imgselect", "imgload":
		img, err := i.need(f, rest, name == "kernel")
		if err == nil {
			i.chosen = img
		}
		return err
	case "imgargs":
		img := i.find(first(rest))
		if img == nil {
			return fmt.Errorf("no image %q", first(rest))
		}
		img.args = rest[1:]
		return nil
	case "imgfree":
		i.free(first(rest))
		return nil
	case "chain", "imgexec", "boot":
		return i.run(f, rest)
	}
	return errors.New("command not found")
}

func first(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return words[0]
}

func (i *ipxe) free(name string) {
	if name == "" {
		i.images, i.chosen = nil, nil
		return
	}
	if img := i.find(name); img != nil {
		i.forget(img)
	}
}

// run is chain, imgexec or boot: it starts an image, fetched before or now.
func (i *ipxe) run(f flags, rest []string) error {
	img := i.chosen
	if img == nil && len(i.images) == 1 {
		img = i.images[0]
	}
	if len(rest) > 0 {
		var err error
		if img, err = i.need(f, rest, false); err != nil {
			return err
		}
	}
	if img == nil {
		return errors.New("no image is selected")
	}
	return i.returned(i.execute(img))
}

// returned is what a command makes of a program that came back: a script that
// ended well, or one that left with a number.
func (i *ipxe) returned(err error) error {
	var exit exitScript
	if errors.As(err, &exit) {
		return fmt.Errorf("it came back: %s", exit.Error())
	}
	return err
}

// need finds an image by name, or fetches it. Words behind its name are its
// arguments.
func (i *ipxe) need(f flags, rest []string, anew bool) (*image, error) {
	if len(rest) == 0 {
		return nil, errors.New("no image is named")
	}
	if img := i.find(rest[0]); img != nil && !anew {
		if len(rest) > 1 {
			img.args = rest[1:]
		}
		return img, nil
	}
	img, err := i.fetch(rest[0], rest[1:])
	if err != nil {
		return nil, err
	}
	if f.name != "" {
		img.name = f.name
	}
	return img, nil
}

// flags are those options of the image commands that matter here.
type flags struct{ name string }

// imageFlags cuts the options off: iPXE wants them before the image.
func imageFlags(args []string) (f flags, rest []string) {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		flag, value, joined := strings.Cut(args[0], "=")
		args = args[1:]
		if !joined && slices.Contains([]string{"-n", "--name", "-t", "--timeout"}, flag) && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		if flag == "-n" || flag == "--name" {
			f.name = value
		}
	}
	return f, args
}

// skipFlags drops options; those named have a value.
func skipFlags(args []string, valued ...string) []string {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		if slices.Contains(valued, args[0]) && len(args) > 1 {
			args = args[1:]
		}
		args = args[1:]
	}
	return args
}
