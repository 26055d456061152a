package vm

import (
	"strings"
	"time"
)

// A Question is what a guest asks and waits for while a task runs.
type Question struct {
	ID      string
	Text    string // "msg.uuid.altered:This virtual machine might have been moved..."
	Choices []Choice
	Default int // index into Choices; -1: none
}

// A Choice is one answer.
type Choice struct{ Key, Label string }

// MessageID is the part of the text that names the message, "" if none.
func (q Question) MessageID() string {
	id, _, ok := strings.Cut(q.Text, ":")
	if !ok || !strings.HasPrefix(id, "msg.") || strings.ContainsAny(id, " \n") {
		return ""
	}
	return id
}

// choice finds an answer whose label holds a word; the "_" before a shortcut
// key does not count.
func (q Question) choice(word string) (Choice, bool) {
	for _, c := range q.Choices {
		if strings.Contains(strings.ToLower(strings.ReplaceAll(c.Label, "_", "")), word) {
			return c, true
		}
	}
	return Choice{}, false
}

// A Policy says what becomes of a guest's questions.
type Policy struct {
	Default  bool              // give the default answer
	Moved    bool              // rpower -f: "I moved it" where that is the question
	Rules    map[string]string // by message id: a word of the answer's label, or its key
	Deadline time.Duration     // how long a task may take in all; 0: DefaultDeadline
}

// DefaultDeadline bounds a task; no task waits for ever.
const DefaultDeadline = 10 * time.Minute

// uuidAltered is asked when a guest's files seem to have been moved.
const uuidAltered = "msg.uuid.altered"

// ParseRules reads "msg.id=answer;msg.id2=answer", as in site.vmwareanswers.
func ParseRules(s string) (map[string]string, error) {
	settings, err := ParseSettings(s)
	if err != nil {
		return nil, Errorf(ErrInvalid, "answers %q: write msg.id=answer;msg.id2=answer", s)
	}
	rules := map[string]string{}
	for _, r := range settings {
		rules[r.Key] = r.Value
	}
	return rules, nil
}

// own reads a guest's own rules, which go before the site's: the keys that
// ESXi itself goes by, msg.autoAnswer = TRUE and answer.msg.uuid.altered = "I
// copied it", as vm.othersettings has them.
func (p *Policy) own(settings []Setting) {
	for _, s := range settings {
		id, rule := strings.CutPrefix(strings.ToLower(s.Key), "answer.")
		switch {
		case rule:
			if p.Rules == nil {
				p.Rules = map[string]string{}
			}
			p.Rules[id] = s.Value
		case strings.EqualFold(s.Key, "msg.autoAnswer"):
			p.Default = truth(s.Value)
		}
	}
}

// Answer decides on a question: the key to answer with, and the error that
// the task ends with if that answer gives it up.
func (p Policy) Answer(q Question) (key string, err error) {
	id := q.MessageID()
	if want, ok := p.Rules[id]; ok && id != "" {
		for _, c := range q.Choices {
			if c.Key == want {
				return c.Key, nil
			}
		}
		if c, ok := q.choice(strings.ToLower(want)); ok {
			return c.Key, nil
		}
	}
	if p.Moved && (id == uuidAltered || id == "msg.uuid.moved") {
		if c, ok := q.choice("moved"); ok {
			return c.Key, nil
		}
	}
	if p.Default && q.Default >= 0 && q.Default < len(q.Choices) {
		return q.Choices[q.Default].Key, nil
	}
	return p.giveUp(q, id)
}

func (p Policy) giveUp(q Question, id string) (string, error) {
	err := Errorf(ErrInvalid, "Cancelling due to unexpected question executing task: %s", q.Text)
	if id == uuidAltered || id == "msg.uuid.moved" {
		err = Errorf(ErrInvalid, "Failure powering on VM, it mismatched against the hypervisor.  If positive VM is not running on another hypervisor, use -f to force VM on")
	}
	if c, ok := q.choice("cancel"); ok {
		return c.Key, err
	}
	return "", Errorf(ErrInvalid, "Task hang due to unexpected question executing task, need to use VMware GUI to clean up: %s", q.Text)
}
