// Margay-demo tells the whole story on a network of its own, with no hardware:
// it makes an installer medium, starts the daemon, types the commands that an
// operator would, and plays the machine that installs itself.
//
// As root the story happens in network namespaces with a wire between them;
// otherwise on loopback with free ports.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	bin := flag.String("margay", "bin/margay", "the program to show")
	play := flag.String("play", "", "internal: play the machine that this file describes")
	inside := flag.Bool("inside", false, "internal: already in a network namespace of our own")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var err error
	switch {
	case *play != "":
		err = playMachine(ctx, *play)
	case os.Geteuid() == 0 && !*inside:
		err = enter(ctx, *bin)
	default:
		err = tell(ctx, *bin, *inside)
	}
	var status exitStatus
	if errors.As(err, &status) {
		os.Exit(int(status))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// tell is the story.
func tell(ctx context.Context, bin string, inside bool) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "margay-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	st := &stage{bin: bin, dir: dir, out: os.Stdout, began: time.Now(), inside: inside}
	defer st.close()
	if err := st.network(); err != nil {
		return err
	}
	return st.story(ctx)
}
