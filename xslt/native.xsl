<?xml version="1.0" encoding="UTF-8"?>
<!-- SPDX-FileCopyrightText: the libvirt-vepa authors -->
<!-- SPDX-License-Identifier: LGPL-2.1-or-later -->
<!--
  For hosts without the hook: from what people write, or what libvirt stores, to libvirt's own interfaces.

  Every <interface type='physical'>, and every <interface type='ethernet'> that has a request in its own
  domain's metadata, becomes an <interface type='direct'> (macvtap) or <interface type='bridge'> (tap). What a
  name means is decided when this sheet runs, not when the guest starts. Names that were derived are left
  out, and all requests go; everything else is copied.

  XSLT 1.0 without extensions:

      xsltproc -stringparam hosts 'lan=eth0:vepa:br-lan wan=eth1:bridge' native.xsl guest.xml

  Parameter:
    hosts   what each name means: NAME=NIC:MODE[:BRIDGE], separated by blanks. MODE (vepa, pepa or bridge) is
            what a macvtap without a mode gets, BRIDGE is what a tap joins. Default: none. The sheet ends
            with a message where a name that is asked for, or its bridge for a tap, is missing, and where
            a request is about a VF (vlan, vf).
-->
<xsl:stylesheet version="1.0"
    xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
    xmlns:physical="urn:libvirt-vepa:physical:1"
    exclude-result-prefixes="physical">

  <xsl:output method="xml" encoding="UTF-8"/>
  <xsl:param name="hosts" select="''"/>

  <xsl:key name="request" match="metadata/physical:interfaces/physical:interface"
      use="concat(generate-id(../../..), ' ', @alias)"/>

  <xsl:template match="@* | node()">
    <xsl:copy><xsl:apply-templates select="@* | node()"/></xsl:copy>
  </xsl:template>

  <!-- == The metadata: requests go, with the blanks before them, and so does what held nothing else. == -->

  <xsl:template match="domain/metadata/node() | inactiveDomain/metadata/node()" priority="1">
    <xsl:copy-of select="."/>
  </xsl:template>
  <xsl:template match="domain/metadata/physical:interfaces | inactiveDomain/metadata/physical:interfaces" priority="2"/>
  <xsl:template match="metadata/text()[normalize-space() = '' and following-sibling::node()[1][self::physical:interfaces]]"
      priority="2"/>
  <xsl:template match="domain/metadata[physical:interfaces] | inactiveDomain/metadata[physical:interfaces]">
    <xsl:if test="*[not(self::physical:interfaces)] | comment() | processing-instruction()">
      <xsl:copy><xsl:apply-templates select="@* | node()"/></xsl:copy>
    </xsl:if>
  </xsl:template>
  <xsl:template match="domain/text()[normalize-space() = '' and following-sibling::node()[1][self::metadata[physical:interfaces]]] |
      inactiveDomain/text()[normalize-space() = '' and following-sibling::node()[1][self::metadata[physical:interfaces]]]">
    <xsl:for-each select="following-sibling::*[1]">
      <xsl:if test="*[not(self::physical:interfaces)] | comment() | processing-instruction()">
        <xsl:value-of select="preceding-sibling::node()[1]"/>
      </xsl:if>
    </xsl:for-each>
  </xsl:template>

  <!-- == The interfaces == -->

  <xsl:template match="/interface[@type = 'physical'] | domain/devices/interface[@type = 'physical'] |
      inactiveDomain/devices/interface[@type = 'physical']">
    <xsl:call-template name="native">
      <xsl:with-param name="name" select="normalize-space(name)"/>
      <xsl:with-param name="type" select="normalize-space(type)"/>
      <xsl:with-param name="mode" select="string(target/@mode)"/>
    </xsl:call-template>
  </xsl:template>

  <xsl:template match="domain/devices/interface[@type = 'ethernet' and alias/@name] |
      inactiveDomain/devices/interface[@type = 'ethernet' and alias/@name]">
    <xsl:variable name="request" select="key('request', concat(generate-id(../..), ' ', alias/@name))[1]"/>
    <xsl:choose>
      <xsl:when test="$request">
        <xsl:call-template name="native">
          <xsl:with-param name="name" select="string($request/@name)"/>
          <xsl:with-param name="type" select="string($request/@type)"/>
          <xsl:with-param name="mode" select="string($request/@mode)"/>
          <xsl:with-param name="settings" select="$request/physical:vlan | $request/physical:vf"/>
        </xsl:call-template>
      </xsl:when>
      <xsl:otherwise><xsl:copy><xsl:apply-templates select="@* | node()"/></xsl:copy></xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <xsl:template name="native">
    <xsl:param name="name"/>
    <xsl:param name="type"/>
    <xsl:param name="mode"/>
    <xsl:param name="settings" select="vlan | vf"/>
    <xsl:variable name="indent" select="text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
    <xsl:variable name="all" select="concat(' ', normalize-space($hosts), ' ')"/>
    <xsl:variable name="host" select="substring-before(substring-after($all, concat(' ', $name, '=')), ' ')"/>
    <xsl:if test="not($host) or contains($name, ' ')">
      <xsl:message terminate="yes">what '<xsl:value-of select="$name"/>' means is not in the parameter 'hosts'</xsl:message>
    </xsl:if>
    <!-- libvirt's own macvtap has a VLAN only in mode passthrough, on a VF that is named here. -->
    <xsl:if test="$settings">
      <xsl:message terminate="yes">&lt;vlan> and &lt;vf> need a VF, which libvirt's own interfaces do not lease</xsl:message>
    </xsl:if>
    <interface>
      <xsl:attribute name="type">
        <xsl:choose>
          <xsl:when test="$type = 'tap'">bridge</xsl:when>
          <xsl:otherwise>direct</xsl:otherwise>
        </xsl:choose>
      </xsl:attribute>
      <xsl:apply-templates select="@*[name() != 'type']"/>
      <xsl:value-of select="$indent"/>
      <xsl:choose>
        <xsl:when test="$type = 'tap'">
          <xsl:variable name="bridge" select="substring-after(substring-after($host, ':'), ':')"/>
          <xsl:if test="not($bridge)">
            <xsl:message terminate="yes">'<xsl:value-of select="$name"/>' has no bridge for a tap in the parameter 'hosts'</xsl:message>
          </xsl:if>
          <xsl:if test="$mode and $mode != 'bridge' and $mode != 'veb'">
            <xsl:message terminate="yes">a tap cannot have mode <xsl:value-of select="$mode"/></xsl:message>
          </xsl:if>
          <source bridge="{$bridge}"/>
        </xsl:when>
        <xsl:otherwise>
          <xsl:variable name="default" select="substring-before(concat(substring-after($host, ':'), ':'), ':')"/>
          <source dev="{substring-before(concat($host, ':'), ':')}">
            <xsl:attribute name="mode">
              <xsl:call-template name="mode">
                <xsl:with-param name="word" select="concat($mode, substring($default, 1, number(not($mode)) * string-length($default)))"/>
              </xsl:call-template>
            </xsl:attribute>
          </source>
        </xsl:otherwise>
      </xsl:choose>
      <xsl:apply-templates select="node()" mode="content"/>
    </interface>
  </xsl:template>

  <!-- A mode in libvirt's words. -->
  <xsl:template name="mode">
    <xsl:param name="word"/>
    <xsl:choose>
      <xsl:when test="$word = 'pepa' or $word = 'private'">private</xsl:when>
      <xsl:when test="$word = 'bridge' or $word = 'veb'">bridge</xsl:when>
      <xsl:when test="$word = 'vepa'">vepa</xsl:when>
      <xsl:otherwise>
        <xsl:message terminate="yes">unknown mode '<xsl:value-of select="$word"/>'</xsl:message>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <xsl:template match="node()" mode="content"><xsl:copy-of select="."/></xsl:template>
  <xsl:template match="name | type" mode="content"/>
  <!-- A device name that somebody chose; vp and twelve digits are nobody's choice. -->
  <xsl:template match="target" mode="content">
    <xsl:if test="@dev and not(starts-with(@dev, 'vp') and string-length(@dev) = 14 and
        translate(substring(@dev, 3), '0123456789abcdef', '') = '')">
      <xsl:value-of select="../text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
      <target dev="{@dev}"/>
    </xsl:if>
  </xsl:template>
  <!-- ua-physical- and twelve digits are nobody's choice either. -->
  <xsl:template match="alias[starts-with(@name, 'ua-physical-') and string-length(@name) = 24 and
      translate(substring(@name, 13), '0123456789abcdef', '') = '']" mode="content"/>
  <xsl:template match="text()[normalize-space() = '' and following-sibling::node()[1][self::name or self::type or self::target or
      self::alias[starts-with(@name, 'ua-physical-') and string-length(@name) = 24 and
      translate(substring(@name, 13), '0123456789abcdef', '') = '']]]" mode="content" priority="2"/>
  <!-- A remark in the proposal's manner, behind an element, is none of the interface's content. -->
  <xsl:template match="text()[starts-with(normalize-space(), '//')]" mode="content" priority="1">
    <xsl:if test="not(following-sibling::node()[1][self::name or self::type or self::target])">
      <xsl:value-of select="../text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
    </xsl:if>
  </xsl:template>
</xsl:stylesheet>
