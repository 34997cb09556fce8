package crash

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// slow is what a command takes only if something is wrong: the usual ones take a few milliseconds.
const slow = 250 * time.Millisecond

// proof is what shows that the blows of one kind, such as kill component, were real.
type proof struct {
	Blows, Struck int
	// Underway commands were cut by a blow: it began between their call and their answer.
	Underway int
	// Slow ones were under way during a blow, and took long.
	Slow int
	// Failures are attempts without an answer.
	Failures int64
	// Behind is how many commands were written behind a zombie's back, to entities that it held when it fell asleep.
	Behind int
	// Conflicts it found afterwards.
	Conflicts int
}

// evidence of each kind of blow. Hosts are in the order of the clients' sidecars.
func evidence(blows []blow, ops []operation, hosts []string) map[string]proof {
	all := map[string]proof{}
	for _, b := range blows {
		kind := string(b.Sort) + " " + b.part()
		if b.Sort == pause {
			kind = string(pause)
		}
		p := all[kind]
		p.Blows++
		if b.Struck {
			p.Struck++
		}
		p.Failures += b.Failures
		for _, o := range ops {
			if o.Call < b.At && b.At < o.Return {
				p.Underway++
			}
			if o.Call < b.Until && b.At < o.Return && o.Return-o.Call > slow {
				p.Slow++
			}
		}
		if b.Sort == zombie {
			p.Behind += behind(b, ops, hosts)
			p.Conflicts += b.Conflicts
		}
		all[kind] = p
	}
	return all
}

// behind counts the writes while a zombie slept to the entities that it held. It held what a command was waiting for that
// had come in by the sidecar of another host, while nothing else was struck. The zombie was stopped, so somebody else
// wrote.
func behind(b blow, ops []operation, hosts []string) (n int) {
	held := map[string]bool{}
	for _, o := range ops {
		if "component "+hosts[o.Sidecar] != b.Victim && o.Call < b.At+stagger/2 && b.At+stagger < o.Return {
			held[o.Account] = true
		}
	}
	for _, o := range ops {
		if held[o.Account] && o.Verdict == done && o.Kind != get && b.At+stagger < o.Return && o.Return < b.At+b.For {
			n++
		}
	}
	return n
}

// enough reports what a run has not shown: one in which nothing much happened proves nothing.
func enough(all map[string]proof) error {
	var errs []error
	for _, kind := range []string{"kill handler", "kill component", "kill daprd", "kill postgres", "pause", "zombie component"} {
		p, ok := all[kind]
		switch {
		case !ok || p.Struck == 0:
			errs = append(errs, fmt.Errorf("%s: no blow found its victim running", kind))
		case p.Underway == 0:
			errs = append(errs, fmt.Errorf("%s: no command was under way", kind))
		case p.Failures == 0 && p.Slow == 0:
			errs = append(errs, fmt.Errorf("%s: no client felt it", kind))
		case kind == "zombie component" && p.Behind == 0:
			errs = append(errs, fmt.Errorf("%s: nothing was written behind its back", kind))
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(all)) {
		if p := all[kind]; p.Struck < p.Blows {
			errs = append(errs, fmt.Errorf("%s: %d of %d blows missed their victim", kind, p.Blows-p.Struck, p.Blows))
		}
	}
	return errors.Join(errs...)
}
