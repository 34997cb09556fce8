package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// measurement is one row in one round.
type measurement struct {
	result

	window time.Duration
	used   usage
	wrote  work
}

func (m measurement) rate() float64 { return float64(m.done) / m.window.Seconds() }

// quantile is in milliseconds.
func (m measurement) quantile(q float64) float64 { return float64(m.latency.ValueAtQuantile(q)) / 1000 }

// perCommand is in microseconds.
func (m measurement) perCommand(who ...role) float64 {
	var total time.Duration
	for _, role := range who {
		total += m.used[role]
	}

	return float64(total.Microseconds()) / float64(max(1, m.done))
}

// share is the part of all processors' time.
func (m measurement) share(taken time.Duration) float64 {
	return taken.Seconds() / (m.window.Seconds() * float64(runtime.NumCPU()))
}

// meter reads the processor time of everybody, from the point of view of one system; nil if none is measured.
func (s *stage) meter(measured *system) (usage, error) {
	used := make(usage)

	add := func(who role, read func(int) (time.Duration, error), pid int) error {
		if pid == 0 {
			return fmt.Errorf("measure processor time: %s is not running", who)
		}

		taken, err := read(pid)
		used[who] += taken

		return err
	}

	processes := map[role][]*harness.Process{idle: {s.placement.Process}}

	for _, system := range s.systems {
		for who, process := range system.processes {
			if system != measured {
				who = idle
			}

			processes[who] = append(processes[who], process)
		}
	}

	for who, all := range processes {
		for _, process := range all {
			if err := add(who, processTime, process.Pid()); err != nil {
				return nil, err
			}
		}
	}

	if err := add(postgres, treeTime, s.postgres.Pid()); err != nil {
		return nil, err
	}

	if err := add(generator, processTime, os.Getpid()); err != nil {
		return nil, err
	}

	total, err := machineTime()
	used[machine] = total

	return used, err
}

// since is what was used between then and now.
func (u usage) since(then usage) usage {
	taken := make(usage, len(u))
	for who, now := range u {
		taken[who] = now - then[who]
	}

	return taken
}

// readings are what is read when a window opens and when it closes.
type readings struct {
	used  usage
	wrote work
	at    time.Time
}

func (s *stage) read(ctx context.Context, measured *system) (readings, error) {
	wrote, err := s.postgres.work(ctx)
	if err != nil {
		return readings{}, err
	}

	used, err := s.meter(measured)

	return readings{used: used, wrote: wrote, at: time.Now()}, err
}

// measure loads one row for one round.
func (s *stage) measure(ctx context.Context, o options, r row, round int) (measurement, error) {
	var (
		before, after       readings
		errBefore, errAfter error
	)

	l := load{
		callers: o.callers, warmup: o.warmup, duration: o.duration, seed: o.seed + uint64(round),
		opened: func() { before, errBefore = s.read(ctx, r.system) },
		closed: func() { after, errAfter = s.read(ctx, r.system) },
	}

	seen, err := l.run(ctx, r.send, r.ids)
	if err = errors.Join(err, errBefore, errAfter); err != nil {
		return measurement{}, fmt.Errorf("measure %s: %w", r.name, err)
	}

	return measurement{
		result: seen,
		window: after.at.Sub(before.at),
		used:   after.used.since(before.used),
		wrote:  after.wrote.since(before.wrote),
	}, nil
}
