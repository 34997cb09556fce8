// Package kin finds hosts of the same app id that have another journal. Placement would move an entity from one such
// host to the other, where it has no past, and nobody would be told.
//
// Hosts meet at an actor whose id is the app id:
//
//	host ── report: journal, name, good for … ──► whichever host has the actor
//	     ◄── the hosts that reported another journal ──
//
// Each host reports every 30 s, and every 5 s while there is another journal, or when its actor types have been
// registered or the actor may have moved. The actor's reports are in memory: when it moves, the hosts report to its new
// place. Until then a host keeps to what it knows, for as long as the report of the other host was good for. That is how
// a verdict does not flicker when the actor moves, and outlives the other host by 20 s at most, or
// by 45 s if that one never knew.
//
// A verdict makes hosts unready and is logged, and that is all: commands are still carried out. A host cannot know which
// of the journals is the right one, and a mistake here must not stop what works. That hosts cannot meet is no verdict.
package kin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// method of the actor. It is the only one.
const method = "Compare"

// Config of a Kin. All but Interval and Log are needed.
type Config struct {
	// ActorType at whose actors hosts meet.
	ActorType string
	// Incarnation is this process, and no other one ever.
	Incarnation string
	// Name of this host for people. It is shown to everybody.
	Name string
	// AppID is that of this host.
	AppID func(context.Context) (string, error)
	// Journal is the id of this host's journal.
	Journal func(context.Context) (string, error)
	// Hosting is nil while the actor type is registered here. Without that, calls of actors would hang.
	Hosting func() error
	// Remote invokes actors.
	Remote actors.Handler
	// Interval between two reports. Defaults to 30 s.
	Interval time.Duration
	// Log defaults to slog.Default().
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Interval = cmp.Or(c.Interval, 30*time.Second)
	c.Log = cmp.Or(c.Log, slog.Default())
	return c
}

func (c Config) validate() error {
	var errs []error
	for name, there := range map[string]bool{
		"ActorType": c.ActorType != "", "Incarnation": c.Incarnation != "", "Name": c.Name != "", "AppID": c.AppID != nil,
		"Journal": c.Journal != nil, "Hosting": c.Hosting != nil, "Remote": c.Remote != nil,
	} {
		if !there {
			errs = append(errs, fmt.Errorf("%s is not set", name))
		}
	}
	if len(c.Name) > maxText || len(c.Incarnation) > maxText {
		errs = append(errs, fmt.Errorf("the name or the incarnation is longer than %d bytes", maxText))
	}
	if c.Interval < 0 || 2*c.Interval > maxValidity {
		errs = append(errs, fmt.Errorf("the interval %v is negative or too long", c.Interval))
	}
	return errors.Join(errs...)
}
