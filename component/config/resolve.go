package config

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/pflag"
)

// Resolve lays the layers over each other, the last one on top, and makes a Config of what comes out. The topmost layer
// holds the settings of scope; those below it may hold settings of any scope. Resolve(State, nil) gives the defaults.
func Resolve(scope Scope, layers ...map[string]string) (Config, error) {
	var problems []error
	values := map[string]string{} // by the setting's own spelling
	for i, layer := range layers {
		given := map[string]string{} // own spelling to the one in this layer
		for _, key := range sortedKeys(layer) {
			s, suffix := find(key)
			if s == nil || i == len(layers)-1 && s.Scope&scope == 0 {
				problems = append(problems, unplaced(key, s, scope))
				continue
			}
			name := s.Name + suffix
			if other, twice := given[name]; twice {
				problems = append(problems, fmt.Errorf("%s is given twice, as %q and as %q", name, cut(other), cut(key)))
				continue
			}
			given[name] = key
			values[name] = layer[key]
		}
	}

	var c Config
	for i := range settings {
		if s := &settings[i]; !s.Prefix() && !s.Dapr {
			if err := s.parse(&c, "", s.Default); err != nil {
				return Config{}, fmt.Errorf("the default of %s %w", s.Name, err)
			}
		}
	}
	for _, name := range sortedKeys(values) {
		s, suffix := find(name)
		if s.Dapr {
			continue
		}
		if err := s.parse(&c, suffix, strings.TrimSpace(values[name])); err != nil {
			if s.Sensitive {
				problems = append(problems, fmt.Errorf("%s %w", name, err))
			} else {
				problems = append(problems, fmt.Errorf("%s %q %w", name, cut(values[name]), err))
			}
		}
	}
	if len(problems) == 0 {
		problems = append(problems, c.validate())
	}
	if err := errors.Join(problems...); err != nil {
		return Config{}, err
	}
	return c, nil
}

// unplaced tells why a key cannot stand where it does.
func unplaced(key string, s *Setting, scope Scope) error {
	switch {
	case s == nil:
		return unknown(key, scope)
	case s.Scope == Process:
		return fmt.Errorf("%s cannot be set in a component's metadata, because it is needed before that is read; give the flag --%s",
			s.Name, s.Name)
	case s.Scope&State != 0 && scope != Process:
		return fmt.Errorf("%s belongs to the state.entities component, not to %s", s.Name, scope)
	default:
		return unknown(key, scope)
	}
}

// Environment returns what the environment sets. getenv is os.Getenv.
func Environment(getenv func(string) string) map[string]string {
	values := map[string]string{}
	set := func(name, value string) {
		if _, has := values[name]; value != "" && !has {
			values[name] = value
		}
	}
	set("daprGrpcEndpoint", getenv("DAPR_GRPC_ENDPOINT"))
	if port := getenv("DAPR_GRPC_PORT"); port != "" {
		set("daprGrpcEndpoint", net.JoinHostPort("127.0.0.1", port))
	}
	set("daprApiToken", getenv("DAPR_API_TOKEN"))
	// Dapr's sidecar injector sets the second spelling, daprd reads the first.
	set("socketFolder", getenv("DAPR_COMPONENTS_SOCKETS_FOLDER"))
	set("socketFolder", getenv("DAPR_COMPONENT_SOCKETS_FOLDER"))
	// A flag shows its value to everybody on the machine.
	set("journal", getenv("ENTITIES_JOURNAL"))
	set("peerKey", getenv("ENTITIES_PEER_KEY"))
	set("appApiToken", getenv("APP_API_TOKEN"))
	return values
}

// spelled lets flags be written as daprd's are: --app-port is --appPort.
func spelled(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if joined := strings.ReplaceAll(name, "-", ""); joined != name {
		if s, suffix := find(joined); s != nil && suffix == "" {
			name = s.Name
		}
	}
	return pflag.NormalizedName(name)
}

// Flags registers a flag for each setting, which may also be written with dashes between its words. The function it returns gives the values of the flags that were set, once
// they have been parsed.
func Flags(fs *pflag.FlagSet) func() map[string]string {
	fs.SetNormalizeFunc(spelled)
	for _, s := range Settings(Process) {
		usage := s.Meaning
		if len(s.Allowed) > 0 {
			usage += " (" + strings.Join(s.Allowed, ", ") + ")"
		}
		if s.Prefix() {
			fs.StringToString(strings.TrimSuffix(s.Name, "."), nil, usage)
			continue
		}
		fs.String(s.Name, s.Default, usage)
		if s.Type == "bool" {
			fs.Lookup(s.Name).NoOptDefVal = "true"
		}
	}
	return func() map[string]string {
		values := map[string]string{}
		for _, s := range Settings(Process) {
			name := strings.TrimSuffix(s.Name, ".")
			if !fs.Changed(name) {
				continue
			}
			if !s.Prefix() {
				values[name] = fs.Lookup(name).Value.String()
				continue
			}
			pairs, _ := fs.GetStringToString(name)
			for suffix, value := range pairs {
				values[s.Name+suffix] = value
			}
		}
		return values
	}
}
