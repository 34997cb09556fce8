package component

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/component/kin"
)

// newKin makes what compares this host's journal with those of the other hosts of its app id.
func (h *host) newKin(incarnation string) (*kin.Kin, error) {
	return kin.New(kin.Config{
		ActorType: catalog.JournalActorType, Incarnation: incarnation, Name: h.name(),
		AppID: h.appID, Journal: h.journal.ID, Hosting: h.hosting,
		Remote: h.sidecar.Invoker(func(actorType string) string { return actorType }),
		Log:    h.log,
	})
}

// name is what operators find this host by, on whichever host they read it.
func (h *host) name() string {
	name, err := os.Hostname()
	if err != nil {
		name = "an unnamed machine"
	}
	if h.settings.AppID != "" {
		name = h.settings.AppID + " on " + name
	}
	const most = 200
	name = strings.ToValidUTF8(name[:min(len(name), most)], "")
	return fmt.Sprintf("%s (process %d, %s journal)", name, os.Getpid(), h.settings.Journal.Scheme)
}

// appID is what the sidecar says. Where its metadata API is forbidden, it is what the settings say.
func (h *host) appID(ctx context.Context) (string, error) {
	about, err := h.sidecar.Metadata(ctx)
	switch {
	case err == nil && about.AppID != "":
		return about.AppID, nil
	case h.settings.AppID != "":
		return h.settings.AppID, nil
	case err != nil:
		return "", err
	}
	return "", errors.New("neither the sidecar nor the setting appId says which app id this is")
}

// hosting is nil while there are actor types and they are registered.
func (h *host) hosting() error {
	if h.catalog.Load() == nil {
		return errors.New("there is nothing to host yet")
	}
	return h.actors.Ready()
}

func (h *host) kinReady() error {
	if h.kin == nil {
		return nil
	}
	return h.kin.Ready()
}
