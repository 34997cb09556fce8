package main

import (
	"io"
	"log/slog"

	"github.com/dapr-entities/entities/component"
	"github.com/dapr-entities/entities/component/config"
)

// assembled is a component that is not running yet, and what it was made of.
type assembled struct {
	*component.Component
	settings config.Config
	log      *slog.Logger
}

// assemble lays the flags over the environment. The sidecar's Init will lay its metadata over both.
func assemble(flags map[string]string, getenv func(string) string, log io.Writer) (*assembled, error) {
	base := []map[string]string{config.Environment(getenv), flags}
	settings, err := config.Resolve(config.Process, base...)
	if err != nil {
		return nil, err
	}
	logger := newLogger(settings, log)
	built, err := component.New(component.Config{
		Base: base, Standalone: standalone(flags), Version: version(), Log: logger,
	})
	if err != nil {
		return nil, err
	}
	return &assembled{built, settings, logger}, nil
}

// standalone reports whether the flags alone say what to host.
func standalone(flags map[string]string) bool {
	for _, name := range []string{"host", "userFunction", "journal"} {
		if _, set := flags[name]; set {
			return true
		}
	}
	return false
}

func newLogger(settings config.Config, to io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: settings.LogLevel}
	if settings.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(to, options))
	}
	return slog.New(slog.NewTextHandler(to, options))
}
